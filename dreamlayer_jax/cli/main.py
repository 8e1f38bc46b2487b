"""The console command `dreamlayer`. Libraries that take time to load are imported by the command that needs them."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from dreamlayer_jax.cli.decompose import Decompose
from dreamlayer_jax.cli.doctor import Doctor
from dreamlayer_jax.cli.edit import EditScene
from dreamlayer_jax.cli.export import Export
from dreamlayer_jax.cli.generate import Generate
from dreamlayer_jax.cli.program import program
from dreamlayer_jax.cli.studio import StudioCommand
from dreamlayer_jax.cli.terminal import any_character_can_be_said, say
from dreamlayer_jax.cli.vocabulary import ShowVocabulary

STOPPED = 130  # as shells have it: 128 and the number of SIGINT
COMMANDS = {
    "generate": Generate,
    "edit": EditScene,
    "decompose": Decompose,
    "export": Export,
    "vocabulary": ShowVocabulary,
    "doctor": Doctor,
    "studio": StudioCommand,
}


def main(arguments: list[str] | None = None, more: Mapping[str, Any] | None = None) -> int:
    """Runs one command, of `COMMANDS` or of `more`.

    Returns the exit status: 0, or 1 with one line on standard error. Wrong usage exits with 2.
    """
    gc.set_threshold(100_000)  # tracing makes millions of small objects that live on; looking through them often is a tenth of a start
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # only its tokenizer is used: that PyTorch is missing is no news
    any_character_can_be_said()
    command = tyro.extras.subcommand_cli_from_dict(
        {**COMMANDS, **(more or {})},
        prog=program(),
        description="DreamLayer: text to image layers, image to layers, and editing of layers.",
        args=arguments,
    )
    try:
        _at_home(command).run()
    except KeyboardInterrupt:
        say("stopped; nothing was written", sys.stderr)
        return STOPPED
    except command.failures() as error:
        say(f"error: {error}", sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        say(
            "error: the memory is not enough for this; make a smaller picture or fewer scenes at once (--height, --width, --count)",
            sys.stderr,
        )
        return 1
    return 0


def console(more: Mapping[str, Any] | None = None) -> None:
    """The program itself, with the commands of `main`.

    One that is stopped ends at once: an orderly end would tear from XLA's threads what they still compute with.
    """
    status = main(more=more)
    sys.stdout.flush()
    sys.stderr.flush()
    if status == STOPPED:
        os._exit(status)
    sys.exit(status)


def _at_home(options: Any) -> Any:
    """Options with "~/" at the beginning of a path as the home folder: the shell leaves it alone in `--out=~/s`."""
    if isinstance(options, Path):
        return options.expanduser()
    if isinstance(options, str) and options.startswith("~/"):
        return os.path.expanduser(options)
    if dataclasses.is_dataclass(options):
        return dataclasses.replace(options, **{name: _at_home(value) for name, value in vars(options).items()})
    return options


def _out_of_memory(error: BaseException) -> bool:
    """NumPy's and Python's own kind, or XLA's, which is a RuntimeError that says so."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
