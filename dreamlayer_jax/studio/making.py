"""What a tab asks for that becomes a new scene: made from words, found in a picture, or opened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dreamlayer_jax.editing.edits import Move
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.planner.rules import plan_by_rules
from dreamlayer_jax.request import check_request
from dreamlayer_jax.studio import asked
from dreamlayer_jax.studio.opening import open_uploads, read_upload
from dreamlayer_jax.studio.tab import Tab

Report = Callable[[float], None]


def split(given: asked.Sentence) -> dict[str, str | list[str]]:
    """The sentence as prompts of layers, by rules."""
    plan = plan_by_rules(given.sentence)
    return {"background": plan.background, "foregrounds": list(plan.foregrounds)}


def generate(model: DreamLayer, tab: Tab, given: asked.Making) -> None:
    """Raises `RequestError` for prompts that cannot be asked for."""
    prompts = _prompts(given)
    tab.make("generating", lambda report: model.generate(**prompts, on_progress=report, **given.sampling()))


def decompose(model: DreamLayer, tab: Tab, given: asked.Decomposing) -> None:
    """Takes an uploaded picture apart. Raises as `generate`, and `StudioError` if the picture was not uploaded."""
    prompts = _prompts(given)
    ((name, path),) = tab.take_uploads([given.upload])

    def take_apart(report: Report) -> LayeredImage:
        with _forgotten([path]):
            picture = read_upload(name, path, tab.limits)
        flat = np.asarray(Image.fromarray(picture).convert("RGB"))
        return model.decompose(flat, **prompts, on_progress=report, on_warning=tab.say, **given.sampling())

    tab.make("taking the picture apart", take_apart)


def open_files(tab: Tab, given: asked.Opening) -> None:
    """Raises `StudioError` for a file that was not uploaded."""
    files = tab.take_uploads(given.uploads)

    def opened(_: Report) -> LayeredImage:
        with _forgotten([path for _, path in files]):
            return open_uploads(files, tab.folder, tab.limits, tab.say)

    tab.make("opening", opened)


def warm_up(model: DreamLayer, report: Report) -> None:
    """A scene of the page's usual size and a move in it, for nobody: their programs are compiled, or read from the cache, by then."""
    image = model.generate(background="a", foregrounds=["a", "a"], seed=0, on_progress=report)
    report(1.0)
    model.edit(image, [Move(1, 0.1, 0.1)], on_progress=report)


def _prompts(given: asked.Making) -> dict:
    prompts = {"background": given.background, "foregrounds": given.foregrounds, "seed": given.seed}
    check_request(**prompts)
    return prompts


@contextlib.contextmanager
def _forgotten(paths: Sequence[Path]) -> Iterator[None]:
    """The files are deleted when they have been read, however that ends."""
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
