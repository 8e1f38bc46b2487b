"""How much one studio takes in: of uploads, tabs, work that waits, and pictures."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds; what passes one is refused with a sentence that says so."""

    upload_bytes: int = 64 << 20
    """Of one file."""
    uploads: int = 20
    """Files that a tab may have waiting to be opened."""
    unpacked_bytes: int = 256 << 20
    """Of all that a zip or an ORA holds."""
    members: int = 200
    """Files in a zip or an ORA."""
    json_bytes: int = 64 << 10
    layers: int = 17
    side: int = 4096
    pixels: int = 1 << 25
    """Of all layers of a scene together."""
    tabs: int = 8
    waiting: int = 8
    """Work of all tabs that waits for the model."""
    undo: int = 30


class StudioError(ValueError):
    """Something was asked of the studio that it does not do; the message is for the person at the page."""


class TooMuch(StudioError):
    """A limit would be passed."""
