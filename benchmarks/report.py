"""What the measurements share: figures with intervals out of scenes' values, and a JSON report of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dreamlayer_jax.files import new_file
from sample.evaluate.intervals import Figure, share_interval


def figures_of(scenes: Iterable[dict[str, list[float]]]) -> dict[str, Figure]:
    """{name: {"mean", "low", "high"}} of scenes' values, 95% intervals over scenes; a name that no scene has a value of is left out."""
    values: dict[str, list[list[float]]] = {}
    for scene in scenes:
        for name, figures in scene.items():
            if figures:
                values.setdefault(name, []).append(figures)
    return {name: dict(zip(("mean", "low", "high"), share_interval(each), strict=True)) for name, each in values.items()}


def write_report(options: Any, summary: dict[str, Any], out: Path | None) -> None:
    """Writes the summary and the options (a dataclass) that it was measured with as JSON, atomically; nothing where `out` is None."""
    if out is None:
        return
    settings = {name: value for name, value in dataclasses.asdict(options).items() if name != "out"}
    with new_file(out, overwrite=True) as temporary:
        temporary.write_text(json.dumps({"settings": settings, "summary": summary}, indent=1) + "\n")
