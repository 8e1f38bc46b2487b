"""The paper's training step and a guided sampling step, compiled for TPU pods by Google's own compiler, on a machine that has no TPU.

    pip install '.[train,tpu]'
    python -m benchmarks.pod --topology v5e:2x4 --mesh data=2,layer=4 --program train
    make tpu                                                             the whole table, an hour and more on two cores

For each program: bytes a chip against the chip's memory, operations a chip, bytes that a chip receives by every kind of collective and for
what, the largest batch that fits, and the time that each resource alone would need at its published peak. Nothing is run: what is printed
is what the compiler planned, and the times are bounds. One JSON line for each goes to `--out`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import jax
import tyro

from benchmarks.pod.chips import Chip, topology
from benchmarks.pod.measure import Compiled, compiled
from benchmarks.pod.programs import Program, sampling, training
from dreamlayer_jax.config import DreamLayerConfig, pocket, sd15
from dreamlayer_jax.place import FSDP, REPLICATED, Exchange, Place, make_mesh

GIB = 2**30
FIGURES = ("arguments", "beside", "temporaries", "outputs", "memory", "flops", "bytes_accessed", "pallas_calls")
TABLE = (
    ("v5e:2x4", "data=2,layer=4"),
    ("v5e:16x16", "data=64,layer=4"),
    ("v5p:2x2x2", "data=2,layer=4"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pod:
    """What is compiled for what."""

    topology: str | None = None
    """Such as v5e:2x4; the whole table's (`make tpu`) if not given."""
    mesh: str = "data=2,layer=4"
    program: Literal["train", "sample", "sample-late"] = "train"
    """sample-late: the steps under T_G, without Eq. 9 and the context maps."""
    model: Literal["sd15", "pocket"] = "sd15"
    layers: int = 4
    """Images of a scene, the global one among them."""
    scenes: int | None = None
    """In all; 4 a chip row of the axis data for training at the paper's batch on data=1, by default 2 a row, 1 for sampling."""
    exchange: Exchange = "gather"
    fsdp: bool = False
    """Parameters and what has their shapes divided over the axis data."""
    largest: bool = False
    """Compiles a second batch and works out the largest that fits."""
    out: Path | None = None


def main(options: Pod) -> None:
    """Prints a table for each."""
    if options.topology is not None:
        report(options)
        return
    for name, mesh in TABLE:
        for program in ("train", "sample", "sample-late"):
            largest = program == "train" and name != "v5e:16x16"
            report(dataclasses.replace(options, topology=name, mesh=mesh, program=program, largest=largest))
    for layers in (4, 8, 16, 32):
        for exchange in ("gather", "ring"):
            mesh = f"data=1,layer={layers}"
            big = {4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4", 32: "v5e:4x8"}[layers]
            report(dataclasses.replace(options, topology=big, mesh=mesh, program="train", layers=layers, scenes=1, exchange=exchange))


def report(options: Pod) -> None:
    """Compiles one program, prints it, and appends it to `--out`."""
    chip, devices = topology(options.topology)
    mesh = make_mesh(options.mesh, devices)
    place = Place(mesh=mesh, dtype="bfloat16", exchange=options.exchange, rules=FSDP if options.fsdp else REPLICATED)
    scenes = options.scenes or (2 if options.program == "train" else 1) * mesh.shape["data"]
    made = measured(options, place, scenes)
    row = {
        "topology": options.topology,
        "mesh": options.mesh,
        "program": options.program,
        "model": options.model,
        "layers": options.layers,
        "scenes": scenes,
        "exchange": options.exchange,
        "fsdp": options.fsdp,
        "jax": jax.__version__,
        **{name: getattr(made, name) for name in FIGURES},
        "seconds": made.seconds(chip),
        "received": {f"{t.kind}, {t.over}: {t.purpose}": moved for t, moved in sorted(made.received.items(), key=lambda item: -item[1])},
        "compile_seconds": made.compile_seconds,
    }
    if options.largest:
        row["largest_scenes"] = largest_batch(options, place, scenes, made, chip)
    show(row, chip)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def measured(options: Pod, place: Place, scenes: int) -> Compiled:
    """The options' program for so many scenes."""

    def program(place: Place) -> Program:
        config: DreamLayerConfig = {"sd15": sd15, "pocket": pocket}[options.model]()
        if options.layers > 4:
            layered = dataclasses.replace(config.layered, max_foregrounds=options.layers - 2)
            config = dataclasses.replace(config, layered=layered)
        if options.program == "train":
            return training(config, place, scenes, options.layers)
        return sampling(config, place, scenes, options.layers, options.program == "sample")

    return compiled(program(place), place, program(dataclasses.replace(place, mesh=None)))


def largest_batch(options: Pod, place: Place, scenes: int, made: Compiled, chip: Chip) -> int:
    """The most scenes that fit, all told, if memory goes on growing as it does from `scenes` to twice as many."""
    rows = place.mesh.shape["data"]
    twice = measured(options, place, 2 * scenes)
    per_scene = (twice.memory - made.memory) / (scenes // rows)  # a row of chips works on its own scenes
    return rows * int(scenes // rows + (chip.memory - made.memory) // per_scene)


def show(row: dict, chip: Chip) -> None:
    """The row as a person reads it."""
    where = f"{row['model']}, {row['program']}, {row['scenes']} scenes of {row['layers']} images, {row['exchange']}"
    print(f"\n### {row['topology']} as {row['mesh']}{', fsdp' if row['fsdp'] else ''}: {where}")
    parts = ", ".join(f"{name} {row[name] / GIB:.2f}" for name in ("arguments", "beside", "temporaries", "outputs"))
    print(f"memory      {row['memory'] / GIB:.2f} of {chip.memory / GIB:.0f} GiB a chip ({parts})")
    if "largest_scenes" in row:
        print(f"largest     {row['largest_scenes']} scenes in all, worked out from two sizes")
    print(f"operations  {row['flops'] / 1e12:.2f} TFLOP a chip")
    for name, moved in row["received"].items():
        print(f"received    {moved / 2**20:10.1f} MiB a chip by {name}")
    bound, parts = max(row["seconds"].values()), ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in row["seconds"].items())
    print(f"time        at least {1e3 * bound:.0f} ms: {parts}")
    print(f"compiled    in {row['compile_seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main(tyro.cli(Pod))
