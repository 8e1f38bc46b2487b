"""What a run was: its resolved configuration, commit, versions and device, as JSON beside the checkpoints."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from dreamlayer_jax.files import write_json
from train.records import read_json_object

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def git_commit(folder: Path) -> str:
    """The commit of the checkout at `folder`, with "+changes" when files differ from it; "unknown" outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(("git", *arguments), cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain") else "")


def write_run_facts(path: Path, **configs: Any) -> None:
    """Writes configurations and facts, atomically; earlier starts of the same run stay listed under "starts"."""
    starts = read_json_object(path, "move it away: the run itself does not need it").get("starts", []) if path.is_file() else []
    start = {
        "command": sys.argv,
        "commit": git_commit(Path(__file__).parent),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processes": jax.process_count(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
    }
    resolved = {name: _plain(config) for name, config in configs.items()}
    write_json(path, {**resolved, "starts": [*starts, start]})


def _plain(value: Any) -> Any:
    """Configurations as JSON's types; of anything else (arrays, sources, tokenizers) only the type's name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__
