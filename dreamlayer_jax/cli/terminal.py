"""What the commands say: escapes and characters that a terminal cannot show never reach it as they are."""

from __future__ import annotations

import sys
from io import TextIOBase


def say(text: object, to: TextIOBase | None = None) -> None:
    """Prints one message, on standard output if nothing else is given."""
    print(printable(str(text)), file=to or sys.stdout)


def warn(text: object) -> None:
    """Prints one warning on standard error."""
    say(f"warning: {text}", sys.stderr)


def printable(text: str) -> str:
    """The text with every character that moves or colours a terminal written out: "\\x1b[31m"."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def any_character_can_be_said() -> None:
    """A character that the terminal's encoding lacks is written out, not refused."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
