"""`dreamlayer edit`: move, resize, flip, remove, reorder, replace or add layers of a scene, and harmonise it again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from dreamlayer_jax.cli.options import HARMONIZE, MODEL, SAMPLING, Harmonize, Model, SamplingOptions, numbered, outside_failures
from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.files import new_folder, require_free
from dreamlayer_jax.request import RequestError

if TYPE_CHECKING:
    from dreamlayer_jax.editing.edits import Edit


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditScene:
    """Edits a scene folder; layers are named by their number there (1 is the farthest foreground). Shadows follow the objects."""

    scene: tyro.conf.Positional[Path]
    """The scene folder to edit."""
    out: Path
    """The folder to write."""
    move: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """N:DX,DY: shift layer N by fractions of the canvas, right and down."""
    resize: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """N:FACTOR: scale layer N about the middle of its lower edge."""
    flip: tyro.conf.UseAppendAction[tuple[int, ...]] = ()
    """N: mirror layer N left to right, in place."""
    replace: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """N:PROMPT: make layer N anew (0 is the background)."""
    remove: tyro.conf.UseAppendAction[tuple[int, ...]] = ()
    """N: take layer N out."""
    order: str = ""
    """N,N,…: the remaining foregrounds, far to near."""
    add: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PROMPT: a new foreground, nearest of all."""
    harmonize: tyro.conf.OmitArgPrefixes[Harmonize] = HARMONIZE
    seed: int | None = None
    """Of what is made anew; the scene's own by default."""
    sampling: tyro.conf.OmitArgPrefixes[SamplingOptions] = SAMPLING
    """By default, as the scene was sampled."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace an earlier output in the folder."""
    format: Literal["png", "psd", "ora"] = "png"
    """psd and ora add a layered scene.psd (Photoshop) or scene.ora (Krita, GIMP) to the folder."""
    model: tyro.conf.OmitArgPrefixes[Model] = MODEL
    """By default the shipped one that the scene names; any other must be given as --weights."""

    def run(self) -> None:
        """Applied in the order of the options above, whatever their order on the command line."""
        from dreamlayer_jax.cli.bar import whole_bar
        from dreamlayer_jax.editing.edits import plan
        from dreamlayer_jax.layered_image import LayeredImage

        edits, sampling = self.edits(), self.sampling.sampling()
        require_free(self.out, overwrite=self.overwrite)
        try:
            image = LayeredImage.load(self.scene, on_warning=warn)
        except ValueError as error:
            raise RequestError(str(error)) from error
        planned = plan(image, edits)  # what is wrong with an edit is said before a model is loaded
        to_make = {i for i, layer in enumerate(planned) if layer.source is None}
        with whole_bar() as bar:
            model = self.model.load_for(image.model, [layer.prompt for layer in planned], to_make)
            bar.says("compiling")
            window = self.harmonize.window(model)
            edited = model.edit(image, edits, seed=self.seed, harmonize=window, on_progress=bar.at, **sampling.settings())
        from dreamlayer_jax.export.scene_folder import write_scene

        with new_folder(self.out, overwrite=self.overwrite) as temporary:
            write_scene(edited, temporary, editor_format=None if self.format == "png" else self.format)
        say(f"wrote {self.out}; look at {self.out / 'sheet.png'} first")

    def edits(self) -> list[Edit]:
        """The edits asked for. Raises `RequestError` for one that does not read as it should."""
        from dreamlayer_jax.editing.edits import Add, Flip, Move, Order, Remove, Replace, Resize

        edits: list[Edit] = []
        for text in self.move:
            number, (dx, dy) = numbered("move", text, "N:DX,DY, such as 1:0.2,0", _two_numbers)
            edits.append(Move(number, dx, dy))
        edits += [Resize(*numbered("resize", text, "N:FACTOR, such as 2:1.5", float)) for text in self.resize]
        edits += [Flip(number) for number in self.flip]
        edits += [Replace(*numbered("replace", text, 'N:PROMPT, such as 1:"a cat"', str)) for text in self.replace]
        edits += [Remove(number) for number in self.remove]
        if self.order:
            try:
                edits.append(Order(tuple(int(number) for number in self.order.split(","))))
            except ValueError:
                raise RequestError(f"--order is {self.order!r}; give layer numbers with commas between, such as 2,1") from None
        return edits + [Add(prompt) for prompt in self.add]

    failures = staticmethod(outside_failures)


def _two_numbers(text: str) -> tuple[float, float]:
    first, second = text.split(",")
    return float(first), float(second)
