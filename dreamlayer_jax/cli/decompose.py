"""`dreamlayer decompose`: a picture and prompts to image layers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from dreamlayer_jax.cli.options import MODEL, SAMPLING, Model, SamplingOptions, outside_failures
from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.files import new_folder, require_free
from dreamlayer_jax.request import check_request


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decompose:
    """Takes a picture apart into a background and the foregrounds that are named (paper Appendix E)."""

    picture: tyro.conf.Positional[Path]
    """A picture file of any size."""
    background: str
    """What is behind everything."""
    foreground: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One object of the picture; give the option once for each, far to near."""
    out: Path
    """The folder to write."""
    method: Literal["inversion", "replay", "given"] | None = None
    """The paper's inversion; the same with the picture replayed beside the layers; or layers made from noise for the given picture.
    The better one for the model by default."""
    seed: int = 0
    """Of the noise that method "given" starts from."""
    sampling: tyro.conf.OmitArgPrefixes[SamplingOptions] = SAMPLING
    """Of the layers; an inversion takes as many steps again, by ddim alone."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace an earlier output in the folder."""
    format: Literal["png", "psd", "ora"] = "png"
    """psd and ora add a layered scene.psd (Photoshop) or scene.ora (Krita, GIMP) to the folder."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL

    def run(self) -> None:
        """Nothing is written unless the layers are made."""
        check_request(background=self.background, foregrounds=self.foreground, seed=self.seed)
        sampling = self.sampling.sampling()
        require_free(self.out, overwrite=self.overwrite)
        from dreamlayer_jax.cli.bar import whole_bar
        from dreamlayer_jax.picture import read_picture

        picture = read_picture(self.picture, on_warning=warn)
        from dreamlayer_jax.export.scene_folder import write_scene

        with whole_bar() as bar:
            model = self.model.load((self.background, *self.foreground))
            bar.says("compiling")
            image = model.decompose(
                picture,
                background=self.background,
                foregrounds=self.foreground,
                seed=self.seed,
                method=self.method,
                on_progress=bar.at,
                on_warning=warn,
                **vars(sampling),
            )
        with new_folder(self.out, overwrite=self.overwrite) as temporary:
            write_scene(image, temporary, editor_format=None if self.format == "png" else self.format)
        say(f"wrote {self.out}; look at {self.out / 'sheet.png'} first")

    failures = staticmethod(outside_failures)
