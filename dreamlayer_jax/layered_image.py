"""What `generate`, `decompose` and `edit` give: a scene that saves and loads itself."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from dreamlayer_jax.export.scene_folder import read_scene, write_scene
from dreamlayer_jax.export.sheet import contact_sheet
from dreamlayer_jax.files import new_folder
from dreamlayer_jax.scene import Scene


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LayeredImage(Scene):
    """A scene of k layers (paper §1), far to near, with the global picture, the context maps and what later edits start from."""

    @classmethod
    def of(cls, scene: Scene) -> LayeredImage:
        """The same scene; nothing is copied."""
        return cls(**{field.name: getattr(scene, field.name) for field in dataclasses.fields(scene)})

    @classmethod
    def load(cls, folder: str | Path, on_warning: Callable[[str], None] = lambda _: None) -> LayeredImage:
        """Reads what `save` wrote. Raises `FileNotFoundError` or `ValueError` naming the file that is missing or damaged.

        `on_warning` is told of a foreground that an editor saved without alpha.
        """
        return cls.of(read_scene(folder, on_warning))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the scene folder (see `dreamlayer_jax.export.scene_folder`) and returns its path.

        All or nothing: an interrupted save leaves what was there before. Raises `FileExistsError` if the folder holds anything, unless
        `overwrite` is given and what it holds is an earlier scene.
        """
        with new_folder(folder, overwrite=overwrite) as temporary:
            write_scene(self, temporary)
        return Path(folder)

    def _repr_png_(self) -> bytes:
        """The contact sheet, in 256 colours so that notebooks stay small: what Jupyter shows of a scene."""
        file = io.BytesIO()
        Image.fromarray(contact_sheet(self)).quantize(256).save(file, format="PNG", optimize=True)
        return file.getvalue()
