"""Make and look at layered scenes, and take pictures apart.

    python -m data preview --out sheet.png         a contact sheet
    python -m data build --out DIR --scenes N      a TFDS data set
    python -m data paint SENTENCES.txt --out DIR   pictures of sentences, with what they show
    python -m data from-pictures DIR --out DIR     pictures taken apart into layers, as a TFDS data set
    python -m data render-art                      the objects' pictures in data/art, drawn anew from the emoji font

Preview and build take `--world emoji` (the default), `--world shapes` (drawn), or `--world folder --objects DIR [--backgrounds DIR]`
(your own cut-outs, see `data/pictures.py`), or `--layered DIR` (finished layered images, see `data/folder.py`,
or what from-pictures has done so far, in its work folder).
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Suppress

from data.composed import made
from data.cutouts import ART
from data.engine import Engine
from data.folder import FolderSource
from data.from_pictures import FromPictures, Paint
from data.layout import MAX_OBJECTS
from data.peel.source import ResultSource, is_work_folder
from data.preview import sheet, side_for
from data.render_art import FONT, drawn_cutouts, write_art
from data.scenes import Pairs, Split
from data.source import ExampleSource, SceneSource
from data.world import World, emoji_world, folder_world, shapes_world
from dreamlayer_jax.files import new_file

MAX_SCENES = 10**8
MAX_ROWS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scenes:
    world: Literal["emoji", "shapes", "folder"] = "emoji"
    """What scenes are made of."""
    objects: Path | None = None
    """For --world folder: RGBA PNGs, named by what they show."""
    backgrounds: Path | None = None
    """For --world folder: pictures, named by what they show; left out, the painted places."""
    layered: Path | None = None
    """A folder of finished layered images, or the work folder of from-pictures, instead of composing any."""
    size: int = 64
    """Pixels a side."""
    layers: tuple[int, ...] = (2, 3, 4)
    """How many layers, background included, scenes have, by seed in turn; 2 to 9."""
    max_objects: int | None = None
    """The same in short: scenes of one object to so many, 8 at most."""
    seed: int = 0
    """The first scene's seed."""

    def source(self, count: int, split: Split, pairs: Pairs = "train") -> ExampleSource:
        """`count` scenes of a split; all of them where a folder of layered images is given."""
        if not 1 <= count <= MAX_SCENES:
            raise ValueError(f"{count} scenes asked for; give 1 to {MAX_SCENES}")
        if self.layered is not None:
            return ResultSource(self.layered) if is_work_folder(self.layered) else FolderSource(self.layered)
        seeds = range(self.seed, self.seed + count)
        return SceneSource(self._world(), seeds, size=self.size, layers=self._layers(), split=split, pairs=pairs)

    def _layers(self) -> tuple[int, ...]:
        if self.max_objects is None:
            return self.layers
        if not 1 <= self.max_objects <= MAX_OBJECTS:
            raise ValueError(f"--max-objects {self.max_objects}: give 1 to {MAX_OBJECTS}")
        return tuple(range(2, self.max_objects + 2))

    def _world(self) -> World:
        if self.world == "folder":
            if self.objects is None:
                raise ValueError("--world folder needs --objects, a folder of RGBA PNGs")
            return folder_world(self.objects, self.backgrounds)
        if self.objects is not None or self.backgrounds is not None:
            raise ValueError(f"--objects and --backgrounds belong to --world folder, but the world is {self.world!r}")
        return emoji_world() if self.world == "emoji" else shapes_world()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview(_Scenes):
    """Draw a contact sheet: the global picture, the stacked layers and each layer of every scene."""

    out: Path
    """The PNG to write."""
    count: int = 12
    """Scenes, one a row."""
    first: int = 0
    """The first to be drawn, by its place."""
    split: Split = "train"
    pairs: Pairs = "train"
    zoom: int | None = None
    """Sheet pixels per scene pixel; left out, scenes are drawn 192 to 320 pixels wide."""

    def run(self) -> str:
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out {self.out}: a contact sheet is a PNG; give a name that ends in .png")
        if self.count > MAX_ROWS:
            raise ValueError(f"{self.count} scenes are more than a sheet can show; give at most {MAX_ROWS}")
        source = self.source(self.count, self.split, self.pairs)
        if not 0 <= self.first < len(source):
            raise ValueError(f"--first {self.first}: there are {len(source)} scenes, counted from 0")
        examples = [source[index] for index in range(self.first, min(self.first + self.count, len(source)))]
        with new_file(self.out, overwrite=True) as temporary:
            sheet(examples, side_for(examples, self.zoom)).save(temporary)
        return f"wrote {self.out}: {len(examples)} scenes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build(_Scenes):
    """Write a TFDS data set (ArrayRecord): the split "train", and "held_out" if asked for. Needs TensorFlow; reading it does not."""

    out: Path
    """The folder that the data set's own folder goes into."""
    scenes: int = 1000
    """Scenes of the split "train" (with --layered: every layered image of the folder)."""
    held_out: int = 0
    """Scenes of the split "held_out"."""
    workers: int = 0
    """Of Apache Beam, on this machine: 0 does without Beam. What follows -- are Beam's own options. The data set is the same."""
    beam: Suppress[tuple[str, ...]] = ()
    """What followed --."""

    def run(self) -> str:
        sources = {"train": self.source(self.scenes, "train")}
        if self.held_out:
            if self.layered is not None:
                raise ValueError("--held-out composes scenes and cannot go with --layered; build the other folder by itself")
            sources["held_out"] = self.source(self.held_out, "held_out")
        try:
            from data.tfds_builder import build, require_new
        except ImportError as error:
            raise ValueError(f"building needs tensorflow-datasets and TensorFlow ({error}); pip install -e '.[train]'") from error
        engine, work = Engine(workers=self.workers, options=self.beam), self.out / "layered_scenes.work"
        if engine.is_beam:
            require_new(self.out)
            fields = dataclasses.asdict(self)
            what = {name: fields[name] for name in ("world", "objects", "backgrounds", "layered", "size", "seed")}
            sources = made(sources, work, engine, {**what, "layers": self._layers()})
        folder = build(sources, self.out)
        shutil.rmtree(work, ignore_errors=True)
        return f"wrote {folder}: " + ", ".join(f"{len(source)} scenes in {split!r}" for split, source in sources.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderArt:
    """Draw the pictures of the 48 objects anew from Noto Color Emoji. Only another version of the font makes other pictures."""

    font: Path = FONT
    """The font's file."""
    out: Path = ART
    """The folder to write them to."""

    def run(self) -> str:
        cutouts = drawn_cutouts(self.font)
        return f"wrote {self.out}: {len(cutouts)} pictures, {write_art(cutouts, self.out) / 1000:.0f} kB"


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status; what the user can mend is told in one line, without a traceback."""
    commands = {"preview": Preview, "build": Build, "paint": Paint, "from-pictures": FromPictures, "render-art": RenderArt}
    arguments, beam = _without_beams(sys.argv[1:] if arguments is None else arguments)
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m data", args=arguments)
    try:
        if beam:
            if not hasattr(command, "beam"):
                raise ValueError(f"{arguments[0]} does nothing with Apache Beam's options (what follows --)")
            command = dataclasses.replace(command, beam=tuple(beam))
        print(command.run())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _without_beams(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and Apache Beam's: what follows a lone --."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


if __name__ == "__main__":
    sys.exit(main())
