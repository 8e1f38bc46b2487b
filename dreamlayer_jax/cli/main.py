"""The console command `dreamlayer`. Libraries that take time to load are imported by the command that needs them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from typing import Any

import tyro

from dreamlayer_jax.cli.decompose import Decompose
from dreamlayer_jax.cli.edit import EditScene
from dreamlayer_jax.cli.export import Export
from dreamlayer_jax.cli.generate import Generate
from dreamlayer_jax.cli.program import program
from dreamlayer_jax.cli.vocabulary import ShowVocabulary

COMMANDS = {
    "generate": Generate,
    "edit": EditScene,
    "decompose": Decompose,
    "export": Export,
    "vocabulary": ShowVocabulary,
}


def main(arguments: list[str] | None = None, more: Mapping[str, Any] | None = None) -> int:
    """Runs one command, of `COMMANDS` or of `more`.

    Returns the exit status: 0, or 1 with one line on standard error. Wrong usage exits with 2.
    """
    gc.set_threshold(100_000)  # tracing makes millions of small objects that live on; looking through them often is a tenth of a start
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # only its tokenizer is used: that PyTorch is missing is no news
    command = tyro.extras.subcommand_cli_from_dict(
        {**COMMANDS, **(more or {})},
        prog=program(),
        description="DreamLayer: text to image layers, image to layers, and editing of layers.",
        args=arguments,
    )
    try:
        command.run()
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    except command.failures() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
