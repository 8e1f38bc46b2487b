"""`python -m sample`: the commands of `dreamlayer`, and `evaluate`, which reads the held-out scenes of `data` and so needs the checkout."""

from __future__ import annotations

from dreamlayer_jax.cli import main as dreamlayer
from sample.evaluate.command import Evaluate

MORE = {"evaluate": Evaluate}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status, as `dreamlayer` does."""
    return dreamlayer.main(arguments, more=MORE)


if __name__ == "__main__":
    dreamlayer.console(more=MORE)
