"""The blind sheet: every object in three scenes, shuffled and numbered, to be named by somebody who does not know the prompts.

    python -m benchmarks.naming --weights pocket --out DIR           layers-N.webp, globals-N.webp, and key.json, not to be opened yet
    python -m benchmarks.naming --weights pocket --truth --out DIR   the same sheet of true scenes through the autoencoder: the ceiling
    python -m benchmarks.naming score --out DIR                      DIR/answers.json against the key

The judge sees the pages alone and writes answers.json (its form: `score.py`), layers first, before the key is opened.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.naming.scenes import choose_subjects, through_autoencoder
from benchmarks.naming.score import score
from benchmarks.naming.sheet import key, pages, shuffled, tile
from dreamlayer_jax.files import new_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """Command line."""

    command: Annotated[Literal["draw", "score"], tyro.conf.Positional] = "draw"
    """`draw` makes the pages and the key; `score` reads answers.json and key.json of the folder."""
    out: Path
    """The folder of the pages, the key and the answers."""
    weights: str = "pocket"
    """The shipped model, or the folder of another."""
    truth: bool = False
    """True scenes through the autoencoder instead of generated ones."""
    first_seed: int = 950_000
    """Of the held-out scenes whose prompts are taken."""
    seed: int = 0
    """Of the tiles' order, and added to each scene's own for the noise it starts from."""
    steps: int = 50
    guidance: float | None = None
    """The model's own by default."""
    batch: int = 24


def draw(options: Naming) -> None:
    """Writes the pages and the key."""
    from data.world import emoji_world
    from dreamlayer_jax.pipeline import DreamLayer
    from dreamlayer_jax.request import Sampling
    from sample.evaluate.pictures import Making, generated_pictures

    model = DreamLayer.from_pretrained(options.weights)
    subjects = choose_subjects(emoji_world(), options.first_seed)
    examples = [subject.example for subject in subjects]
    if options.truth:
        made = through_autoencoder(model, examples, options.batch)
    else:
        sampling = Sampling(steps=options.steps, guidance=options.guidance)
        making = Making(sampling=sampling, seed=options.seed, batch=options.batch, window=None)
        made = generated_pictures(model, making, examples)
    scenes = {(len(scene.names), scene.seed): scene for scene in made}
    order = shuffled(subjects, options.seed)
    for kind, ordered in order.items():
        for number, page in enumerate(pages([tile(kind, one, scenes[one.scene]) for one in ordered]), start=1):
            with new_file(options.out / f"{kind}-{number}.webp", overwrite=True) as temporary:
                page.save(temporary, format="WEBP", quality=80, method=6)
    with new_file(options.out / "key.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(key(order), indent=1) + "\n", encoding="utf-8")
    print(f"wrote the pages and the key to {options.out}")


def main(options: Naming) -> None:
    """Draws the sheet, or scores the answers to it."""
    if options.command == "draw":
        options.out.mkdir(parents=True, exist_ok=True)
        draw(options)
        return
    read = {name: json.loads((options.out / f"{name}.json").read_text(encoding="utf-8")) for name in ("key", "answers")}
    for kind, found in score(**read).items():
        print(f"{kind}: {found['named']} of {found['tiles']} named; by layer count {found['by layer count']}; missed {found['missed']}")


if __name__ == "__main__":
    main(tyro.cli(Naming, description=__doc__))
