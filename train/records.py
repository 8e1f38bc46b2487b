"""The JSON files that a workdir holds, read back. No jax here: the processes that compose scenes import it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """What a JSON file of ours holds; ValueError, with what to do about it, if that is no object."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} is damaged (it holds {type(tree).__name__}, not an object): {remedy}")
    return tree
