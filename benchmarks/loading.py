"""Memory and time of loading Stable Diffusion 1.5 at full size in float32, ours beside diffusers'.

    python -m benchmarks.loading

It makes a random model in a temporary folder (8.6 GB: a diffusers folder, and the same as a single file), then measures each in a fresh
process. Peak is the kernel's high-water mark of resident memory; "before" is resident memory after the imports. Ours holds the layered
model: the base, and the foregrounds' own K and V.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tyro

GIB = 2**30


def resident(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the most so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])


def measure(load: Callable[[], int]) -> dict[str, float]:
    """`load` returns the bytes of its parameters."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before, start, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    parameters = load()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "parameters": parameters / GIB,
        "before": before / GIB,
        "peak": resident("VmHWM") / GIB,
        "ratio": (resident("VmHWM") - before) / parameters,
    }


def ours(where: Path, single: bool = False) -> dict[str, float]:
    """This library, from a folder or from its single file."""
    import jax

    from dreamlayer_jax import DreamLayer

    def load() -> int:
        tokenizer = where.parent / "model" / "tokenizer" if single else None
        params = jax.block_until_ready(DreamLayer.from_pretrained(where, tokenizer=tokenizer).params)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(params))

    jax.block_until_ready(jax.numpy.zeros(1))
    return measure(load)


def theirs(folder: Path) -> dict[str, float]:
    """PyTorch: diffusers and transformers, plain networks."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    networks = []

    def load() -> int:
        for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder")):
            networks.append(kind.from_pretrained(folder / name))
        for network in networks:
            for parameter in network.parameters():
                parameter.sum()  # diffusers leaves its files mapped, and a page counts once it is read
        return sum(parameter.nbytes for network in networks for parameter in network.parameters())

    return measure(load)


def make(base: Path) -> None:
    """A random model of full size: the folder `model`, and the same as a single file."""
    import jax
    import numpy as np
    from safetensors.numpy import load_file, save_file
    from transformers import CLIPTokenizer

    from dreamlayer_jax.config import sd15
    from dreamlayer_jax.models.layered import base_shapes
    from dreamlayer_jax.weights.files.original_names import original_key
    from dreamlayer_jax.weights.formats.diffusers_folder import STEMS, export_diffusers
    from dreamlayer_jax.weights.where import find_model

    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), base_shapes(sd15()))
    export_diffusers(base / "model", sd15(), params, CLIPTokenizer.from_pretrained(find_model("pocket") / "tokenizer"))
    del params
    tensors = {}
    for network, stem in STEMS.items():
        for key, tensor in load_file(base / "model" / network / f"{stem}.safetensors").items():
            tensors[original_key(f"{network}.{key}", sd15())] = tensor
    save_file(tensors, base / "single.safetensors")


MEASUREMENTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "DreamLayer, diffusers folder": lambda base: ours(base / "model"),
    "DreamLayer, single file": lambda base: ours(base / "single.safetensors", single=True),
    "PyTorch (diffusers), the same folder": lambda base: theirs(base / "model"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
    """Peak memory and time of loading."""

    folder: Path | None = None
    """A folder with `model` (a diffusers folder) and `single.safetensors` in it; made and removed again if not given."""
    only: str | None = None
    """One measurement, in this process, as JSON."""

    def run(self) -> None:
        if self.only == "make":
            make(self.folder)
        elif self.only:
            print(json.dumps(MEASUREMENTS[self.only](self.folder)))
        elif self.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                _in_a_process(Path(folder), "make")
                _table(Path(folder))
        else:
            _table(self.folder)


def _in_a_process(folder: Path, what: str) -> str:
    command = [sys.executable, "-m", "benchmarks.loading", "--folder", str(folder), "--only", what]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _table(folder: Path) -> None:
    print("| what | parameters, GiB | resident before, GiB | peak, GiB | (peak - before) / parameters | seconds | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for what in MEASUREMENTS:
        m = json.loads(_in_a_process(folder, what).splitlines()[-1])
        sizes = f"{m['parameters']:.2f} | {m['before']:.2f} | {m['peak']:.2f} | {m['ratio']:.2f}"
        print(f"| {what} | {sizes} | {m['seconds']:.1f} | {m['cpu']:.1f} |")


if __name__ == "__main__":
    tyro.cli(Loading).run()
