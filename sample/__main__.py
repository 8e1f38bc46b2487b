"""`python -m sample`: prompts to image layers. Libraries that take time to load are imported by the command that needs them."""

from __future__ import annotations

import gc
import os
import sys

import tyro

from sample.decompose import Decompose
from sample.edit import EditScene
from sample.evaluate.command import Evaluate
from sample.export import Export
from sample.generate import Generate
from sample.vocabulary import ShowVocabulary


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 1 with one line on standard error. Wrong usage exits with 2."""
    gc.set_threshold(100_000)  # tracing makes millions of small objects that live on; looking through them often is a tenth of a start
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # only its tokenizer is used: that PyTorch is missing is no news
    command = tyro.extras.subcommand_cli_from_dict(
        {
            "generate": Generate,
            "edit": EditScene,
            "decompose": Decompose,
            "export": Export,
            "evaluate": Evaluate,
            "vocabulary": ShowVocabulary,
        },
        prog="python -m sample",
        description="DreamLayer: text to image layers, image to layers, editing of layers, and what a model is worth in figures.",
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


if __name__ == "__main__":
    sys.exit(main())
