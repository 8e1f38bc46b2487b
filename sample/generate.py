"""`python -m sample generate`: one scene, or several seeds of it, into a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from dreamlayer_jax.export.folder import new_folder, require_free
from dreamlayer_jax.request import MAX_SEED, RequestError, check_request
from sample.options import HARMONIZE, MODEL, Harmonize, Model, outside_failures

if TYPE_CHECKING:
    from dreamlayer_jax.layered_image import LayeredImage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate:
    """Prompts to image layers: a folder of PNG files with alpha, and sheet.png, which shows them side by side."""

    background: str
    """What is behind everything, such as "a sandy beach"."""
    foreground: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One object; give the option once for each, far to near."""
    out: Path
    """The folder to write; with --count, a folder of folders."""
    seed: int = 0
    """Of the starting noise. The same seed gives the same bytes on the same machine."""
    steps: int = 50
    """Denoising steps, 1 to 1000."""
    guidance: float | None = None
    """Classifier-free guidance weight, 1 is none; the model's own by default."""
    height: int | None = None
    """In pixels; the model's own by default, as the width."""
    width: int | None = None
    no_harmonize: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out the harmonised composite and its second pass."""
    harmonize: tyro.conf.OmitArgPrefixes[Harmonize] = HARMONIZE
    count: int = 1
    """How many scenes, with the seeds seed, seed + 1, …"""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace an earlier output in the folder."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL

    def run(self) -> None:
        """Nothing is written unless all scenes are made."""
        check_request(background=self.background, foregrounds=self.foreground, seed=self.seed, steps=self.steps, guidance=self.guidance)
        if self.count < 1 or self.seed + self.count - 1 > MAX_SEED:
            raise RequestError(f"count is {self.count}; give at least 1, with seed + count - 1 at most {MAX_SEED}")
        require_free(self.out, overwrite=self.overwrite)
        images = self._images()
        from dreamlayer_jax.export.scene_folder import write_scene

        with new_folder(self.out, overwrite=self.overwrite) as temporary:
            for image in images:
                folder = temporary / f"seed_{image.seed}" if self.count > 1 else temporary
                folder.mkdir(exist_ok=True)
                write_scene(image, folder)
        sheets = "sheet.png" if self.count == 1 else f"seed_{self.seed}/sheet.png"
        print(f"wrote {self.out}; look at {self.out / sheets} first")

    def _images(self) -> list[LayeredImage]:
        from tqdm import tqdm

        model = self.model.load((self.background, *self.foreground))
        images = []
        with tqdm(total=self.steps * self.count, desc="denoising", unit="step") as bar:
            for i in range(self.count):
                images.append(
                    model.generate(
                        background=self.background,
                        foregrounds=self.foreground,
                        seed=self.seed + i,
                        steps=self.steps,
                        guidance=self.guidance,
                        size=(self.height or model.config.sample_size, self.width or model.config.sample_size),
                        harmonize=None if self.no_harmonize else self.harmonize.window,
                        on_step=lambda done, i=i: bar.update(i * self.steps + done - bar.n),
                    )
                )
        return images

    failures = staticmethod(outside_failures)
