"""`DreamLayerConfig` as JSON: what lies beside a folder of weights. Reading is strict: unknown and missing fields are named."""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

from dreamlayer_jax.config import DreamLayerConfig


def to_json(config: DreamLayerConfig) -> str:
    """Indented JSON with a trailing newline; tuples become lists."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, source: str = "configuration") -> DreamLayerConfig:
    """The configuration of a text that `to_json` wrote. `source` names it in errors.

    ValueError if it is not JSON, a field is unknown, a field without default is missing, or a value has the wrong type.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON ({error}); expected a file that to_json wrote") from error
    return from_tree(DreamLayerConfig, tree, source)


def write_config(config: DreamLayerConfig, path: Path) -> None:
    """Writes `to_json(config)` to `path`, atomically."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(to_json(config), encoding="utf-8")
    os.replace(temporary, path)


def read_config(path: Path) -> DreamLayerConfig:
    """The configuration in a file; FileNotFoundError or ValueError name it."""
    return from_json(path.read_text(encoding="utf-8"), str(path))


def from_tree(kind: type, tree: Any, where: str) -> Any:
    """A configuration of class `kind` from its fields as JSON has them. ValueError, which opens with `where`, if they do not fit."""
    if not isinstance(tree, dict):
        raise ValueError(f"{where}: expected an object with the fields of {kind.__name__}, found {tree!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(tree) - set(fields))
    if unknown:
        known = f"known are {sorted(fields)}. Was it written by another version?"
        raise ValueError(f"{where}: unknown fields {unknown} for {kind.__name__}; {known}")
    missing = sorted(name for name, field in fields.items() if name not in tree and field.default is dataclasses.MISSING)
    if missing:
        raise ValueError(f"{where}: fields {missing} of {kind.__name__} are missing")
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in tree.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` asks: a nested config, a tuple out of a list, a Literal, a union of these, or a plain type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_tree(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            try:
                return _value(choice, value, where)
            except ValueError:
                continue
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_value(arguments[0], item, where) for item in value)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r}; expected {hint if origin else getattr(hint, '__name__', hint)}")
