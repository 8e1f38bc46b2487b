"""`DreamLayerConfig` as JSON: what lies beside a folder of weights. Reading is strict: unknown and missing fields are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.files import write_text
from dreamlayer_jax.strict_json import parse_json, read_json


def to_json(config: DreamLayerConfig) -> str:
    """Indented JSON with a trailing newline; tuples become lists."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, source: str = "configuration") -> DreamLayerConfig:
    """The configuration of a text that `to_json` wrote. `source` names it in errors.

    `SchemaError` (a `ValueError`) if it is not JSON, a field is unknown, a field without default is missing, or a value is not of its type
    or out of its bounds.
    """
    return parse_json(text, DreamLayerConfig, source)


def write_config(config: DreamLayerConfig, path: Path) -> None:
    """Writes `to_json(config)` to `path`, atomically."""
    write_text(path, to_json(config))


def read_config(path: Path) -> DreamLayerConfig:
    """The configuration in a file; FileNotFoundError or ValueError name it."""
    return read_json(path, DreamLayerConfig)
