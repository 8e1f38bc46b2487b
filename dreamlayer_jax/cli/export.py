"""`dreamlayer export`: a scene folder as one layered file for an image editor."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.request import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """A scene folder as a layered file: Photoshop's .psd, or OpenRaster's .ora for Krita, GIMP and MyPaint."""

    scene: tyro.conf.Positional[Path]
    """A folder that generate wrote."""
    out: Path
    """The file to write."""
    format: Literal["psd", "ora"] | None = None
    """What to write; by default what the name of --out ends in."""
    shadow: tyro.conf.FlagCreatePairsOff[bool] = False
    """Add two layers, multiply and screen, that turn the blend of the layers into the harmonised composite."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace a file that is there."""

    def run(self) -> None:
        from dreamlayer_jax.export.editor_file import format_of, write_editor_file
        from dreamlayer_jax.files import require_free_file
        from dreamlayer_jax.layered_image import LayeredImage

        promised = format_of(self.out)
        if self.format not in (None, promised):
            raise RequestError(f"--format is {self.format}, but {self.out} ends in .{promised}; make them agree")
        require_free_file(self.out, overwrite=self.overwrite)
        try:
            image = LayeredImage.load(self.scene, on_warning=warn)
        except ValueError as error:
            raise RequestError(str(error)) from error
        write_editor_file(image, self.out, shadow=self.shadow, overwrite=self.overwrite)
        say(f"wrote {self.out}")

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """What can go wrong outside this program."""
        return RequestError, OSError
