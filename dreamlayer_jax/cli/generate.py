"""`dreamlayer generate`: one scene, or several seeds of it, into a folder."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from dreamlayer_jax.cli.options import HARMONIZE, MODEL, SAMPLING, Harmonize, Model, SamplingOptions, numbered, outside_failures
from dreamlayer_jax.cli.split import split
from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.files import new_folder, require_free
from dreamlayer_jax.request import MAX_SEED, RequestError, check_given_size, check_request, check_size

if TYPE_CHECKING:
    import numpy as np

    from dreamlayer_jax.cli.bar import Bar
    from dreamlayer_jax.layered_image import LayeredImage

PIXELS_AT_ONCE = 16 * 64 * 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate:
    """Prompts to image layers: a folder of PNG files with alpha, and sheet.png, which shows them side by side."""

    background: str | None = None
    """What is behind everything, such as "a sandy beach"."""
    foreground: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One object; give the option once for each, far to near."""
    prompt: str | None = None
    """Instead of --background and --foreground: one sentence, such as "a dog and a red apple on a sandy beach", which a planner splits."""
    planner_url: str | None = None
    """Split the sentence by the chat model at this OpenAI-compatible address, such as https://host/v1, instead of by rules. Its key is read
    from the environment variable DREAMLAYER_PLANNER_KEY."""
    planner_model: str | None = None
    """The chat model's name at that address."""
    out: Path
    """The folder to write; with --count, a folder of folders."""
    seed: int = 0
    """Of the starting noise. The same seed gives the same bytes on the same machine."""
    sampling: tyro.conf.OmitArgPrefixes[SamplingOptions] = SAMPLING
    height: int | None = None
    """In pixels; the model's own by default, as the width."""
    width: int | None = None
    no_harmonize: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out the harmonised composite and its second pass."""
    harmonize: tyro.conf.OmitArgPrefixes[Harmonize] = HARMONIZE
    given: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """N:FILE: layer N (0 is the background) is this picture already, in the scene's size; the others are made for it."""
    count: int = 1
    """How many scenes, with the seeds seed, seed + 1, …"""
    batch: int | None = None
    """Scenes made at a time, for --count; by default as many as have the pixels of 16 scenes of 64 by 64, at least one."""
    any_size: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try it even if the memory will not be enough, by the estimate."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace an earlier output in the folder."""
    format: Literal["png", "psd", "ora"] = "png"
    """A scene is a folder of PNG files; psd and ora add a layered scene.psd (Photoshop) or scene.ora (Krita, GIMP) to it."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL

    def run(self) -> None:
        """Nothing is written unless all scenes are made."""
        if self.count < 1 or self.seed + self.count - 1 > MAX_SEED:
            raise RequestError(f"count is {self.count}; give at least 1, with seed + count - 1 at most {MAX_SEED}")
        if self.batch is not None and self.batch < 1:
            raise RequestError(f"batch is {self.batch}; give at least 1")
        require_free(self.out, overwrite=self.overwrite)
        background, foregrounds = self._prompts()
        check_request(background=background, foregrounds=foregrounds, seed=self.seed)
        self.sampling.sampling()  # what is wrong with it is said before a model is loaded
        images = self._images(background, foregrounds, self._given())
        from dreamlayer_jax.export.scene_folder import write_scene

        with new_folder(self.out, overwrite=self.overwrite) as temporary:
            for image in images:
                folder = temporary / f"seed_{image.seed}" if self.count > 1 else temporary
                folder.mkdir(exist_ok=True)
                write_scene(image, folder, editor_format=None if self.format == "png" else self.format)
        sheets = "sheet.png" if self.count == 1 else f"seed_{self.seed}/sheet.png"
        say(f"wrote {self.out}; look at {self.out / sheets} first")

    def _prompts(self) -> tuple[str, tuple[str, ...]]:
        """Background and foregrounds, as given or as split from the sentence."""
        if self.prompt is not None:
            if self.background is not None or self.foreground:
                raise RequestError("both a sentence and layer prompts were given; give --prompt, or --background and --foreground")
            return split(self.prompt, planner_url=self.planner_url, planner_model=self.planner_model)
        if self.planner_url is not None or self.planner_model is not None:
            raise RequestError("a planner was given and nothing to split; give --prompt with a sentence")
        if self.background is None:
            raise RequestError("no background was given; give --background and --foreground, or --prompt with a sentence")
        return self.background, self.foreground

    def _given(self) -> dict[int, np.ndarray]:
        """The given layers' pixels by number."""
        from dreamlayer_jax.picture import read_layer

        return {number: read_layer(file, on_warning=warn) for number, file in self._given_files().items()}

    def _given_files(self) -> dict[int, str]:
        return dict(numbered("given", text, "N:FILE, such as 0:beach.png", os.path.expanduser) for text in self.given)

    def _images(self, background: str, foregrounds: tuple[str, ...], given: dict[int, np.ndarray]) -> list[LayeredImage]:
        from dreamlayer_jax.cli.bar import whole_bar
        from dreamlayer_jax.memory import check_memory

        sampling = self.sampling.sampling()
        images: list[LayeredImage] = []
        with whole_bar() as bar:
            to_make = set(range(1 + len(foregrounds))) - set(given)
            model = self.model.load((background, *foregrounds), to_make=to_make)
            size = (self.height or model.config.sample_size, self.width or model.config.sample_size)
            model.decoders()  # before the size, which a model without a layer decoder may not even have
            check_size(model.config, size)
            for number, pixels in given.items():
                check_given_size(self._given_files()[number], pixels, size)
            if not self.any_size:
                steps = sampling.of(model.config).steps
                check_memory(model.config, 1 + len(foregrounds), size, self.count, min(self._at_once(size), self.count), steps)
            bar.says("compiling")
            for seeds in self._batches(size):
                images += model.generate_batch(
                    [(background, *foregrounds)] * len(seeds),
                    seeds=seeds,
                    size=size,
                    given=given,
                    harmonize=not self.no_harmonize and self.harmonize.window(model),
                    on_progress=partial(_show, bar, len(images), len(seeds), self.count),
                    **vars(sampling),
                )
        return images

    def _at_once(self, size: tuple[int, int]) -> int:
        """How many scenes are made at a time, at most."""
        return self.batch or max(1, PIXELS_AT_ONCE // (size[0] * size[1]))

    def _batches(self, size: tuple[int, int]) -> list[list[int]]:
        """The seeds, in batches as equal as can be: a batch of another size is another program to compile."""
        number = math.ceil(self.count / self._at_once(size))
        ends = [self.count * i // number for i in range(number + 1)]
        return [list(range(self.seed + start, self.seed + stop)) for start, stop in itertools.pairwise(ends)]

    failures = staticmethod(outside_failures)


def _show(bar: Bar, made: int, at_once: int, count: int, share: float) -> None:
    """`share` of the next `at_once` scenes is done, after `made` of `count`."""
    bar.at((made + share * at_once) / count)
