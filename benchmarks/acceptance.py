"""The model's figures on 200 held-out prompt sets, measured by the probe.

    python -m benchmarks.acceptance --weights pocket --out runs/acceptance.json
    python -m benchmarks.acceptance --truth                the same scoring of true held-out scenes: the probe's ceiling

The prompt sets are those of held-out scenes, k = 2, 3, 4 in turn, with fixed seeds that no training and no choice of settings reads.
`benchmarks/scoring.py` defines the metrics. Every figure has a 95% bootstrap interval over scenes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tqdm import tqdm

from benchmarks.probe import FOLDER, SIDE, load_probe, write_atomically
from benchmarks.scoring import ScenePictures, held_out_scenes, markdown_table, score_scenes, summarize, true_pictures
from data.source import Example
from dreamlayer_jax.weights.errors import WeightsError

if TYPE_CHECKING:
    from dreamlayer_jax.pipeline import DreamLayer


class AcceptanceError(ValueError):
    """Something was asked for that cannot be measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Generates the held-out prompt sets, scores them, prints the table."""

    weights: str = "pocket"
    """The shipped model, or the folder of another."""
    truth: bool = False
    """Score true scenes in place of generated ones."""
    count: int = 200
    steps: int = 25
    guidance: float | None = None
    """The model's own by default."""
    seed: int = 0
    """Of the starting noise."""
    batch: int = 16
    """Scenes at a time."""
    probe: Path = FOLDER
    out: Path | None = None
    """JSON report with every scene's scores."""

    def __post_init__(self) -> None:
        for name in ("count", "steps", "batch"):
            if getattr(self, name) < 1:
                raise AcceptanceError(f"{name} is {getattr(self, name)}; give at least 1")


def batches_of_equal_k(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Runs of at most `size` examples that have the same number of layers, fewest layers first."""
    for k in sorted({len(example["names"]) for example in examples}):
        equal = [example for example in examples if len(example["names"]) == k]
        yield from (equal[n : n + size] for n in range(0, len(equal), size))


def generated_pictures(model: DreamLayer, arguments: Acceptance, examples: Sequence[Example]) -> list[ScenePictures]:
    """One generated scene for each example's prompts. Raises `AcceptanceError` for a model that this probe cannot measure."""
    config = model.config
    if config.sample_size != SIDE:
        raise AcceptanceError(f"the model makes {config.sample_size}-pixel pictures; the probe reads {SIDE}: give a model of {SIDE} pixels")
    if arguments.steps > config.schedule.num_train_timesteps:
        raise AcceptanceError(f"steps is {arguments.steps}; the model has {config.schedule.num_train_timesteps} timesteps")
    scenes = []
    with tqdm(total=len(examples), desc="scenes") as bar:
        for number, batch in enumerate(batches_of_equal_k(examples, arguments.batch)):
            # A short last batch is filled up, for one compilation a layer count.
            filled = batch + [batch[-1]] * (min(arguments.batch, len(examples)) - len(batch))
            rgba, global_rgb = _generate(model, arguments, [example["prompts"] for example in filled], number)
            for n, example in enumerate(batch):
                fields = {name: example[name] for name in ("names", "prompts", "seed")}
                scenes.append(ScenePictures(rgba=rgba[:, n], global_rgb=global_rgb[n], **fields))
            bar.update(len(batch))
    return scenes


def _generate(model: DreamLayer, arguments: Acceptance, prompts: Sequence[Sequence[str]], number: int) -> tuple[Any, Any]:
    """One batch: prompts of b scenes of k layers to rgba (k, b, h, w, 4) and the global pictures (b, h, w, 3), uint8."""
    import jax
    import numpy as np

    from dreamlayer_jax.compositing import to_uint8
    from dreamlayer_jax.diffusion.decode import decode_layers
    from dreamlayer_jax.diffusion.generate import generate_layers
    from dreamlayer_jax.prompts import tokenize

    length = model.config.text.max_position_embeddings
    generated = generate_layers(
        model.config,
        model.params,
        tokenize(model.tokenizer, list(zip(*prompts, strict=True)), length),
        tokenize(model.tokenizer, [[""]], length).ids[0, 0],
        jax.random.fold_in(jax.random.key(arguments.seed), number),
        steps=arguments.steps,
        guidance=model.config.guidance if arguments.guidance is None else arguments.guidance,
    )
    decoded = decode_layers(model.config, {name: model.params[name] for name in ("vae", "layer_decoder")}, generated.latents)
    return np.asarray(to_uint8(decoded.rgba_straight_01)), np.asarray(to_uint8(decoded.global_rgb_01))


def measure(arguments: Acceptance) -> dict[str, Any]:
    """The report: what was measured, the summary with intervals, each scene's scores."""
    probe = load_probe(arguments.probe)
    source = held_out_scenes(arguments.count)
    if not arguments.truth:
        from dreamlayer_jax.pipeline import DreamLayer

        model = DreamLayer.from_pretrained(arguments.weights)
    examples = [source[n] for n in range(len(source))]
    started = time.monotonic()
    pictures = [true_pictures(example) for example in examples] if arguments.truth else generated_pictures(model, arguments, examples)
    seconds = time.monotonic() - started
    scored = score_scenes(probe, pictures)
    return {
        "measured": "true scenes" if arguments.truth else arguments.weights,
        "settings": {name: getattr(arguments, name) for name in ("count", "steps", "guidance", "seed", "batch")},
        "generation_seconds": round(seconds, 1),
        "summary": summarize(scored),
        "scenes": [dataclasses.asdict(scene) for scene in scored],
    }


def main(arguments: Acceptance) -> None:
    """Prints the table; writes the report, atomically."""
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report = measure(arguments)
    print(markdown_table(report["summary"]))
    if arguments.out is not None:
        write_atomically(arguments.out, (json.dumps(report, indent=1) + "\n").encode())
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Acceptance))
    except (AcceptanceError, WeightsError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
