"""How this program was called, for the commands that its messages tell the user to type."""

from __future__ import annotations

import sys
from pathlib import Path


def program() -> str:
    """`dreamlayer`, where the installed command runs; otherwise `python -m sample`, from a checkout."""
    return "dreamlayer" if Path(sys.argv[0]).stem == "dreamlayer" else "python -m sample"
