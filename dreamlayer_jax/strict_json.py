"""JSON files that came from somewhere, read into dataclasses: strict types, no unknown fields, bounds, and one line for what is wrong.

The schema is the dataclass itself, read by pydantic. Depth is bounded by its parser; sizes are looked at before anything is read.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from dreamlayer_jax.files import read_regular

MAX_BYTES = 1 << 24
"""Of a JSON file: the index of a large model's shards has a few hundred kilobytes."""

T = TypeVar("T")


class SchemaError(ValueError):
    """A file does not hold what it should; the message names the file and the key."""


def read_json(path: Path, kind: type[T] | GenericAlias, unknown: Literal["forbid", "ignore"] = "forbid") -> T:
    """The file at `path` as `kind`. Raises `SchemaError`, and `OSError` if it cannot be read."""
    try:
        text = read_regular(path, MAX_BYTES)
    except (ValueError, IsADirectoryError) as error:
        raise SchemaError(str(error)) from None
    return parse_json(text, kind, str(path), unknown)


def parse_json(text: str | bytes, kind: type[T] | GenericAlias, source: str, unknown: Literal["forbid", "ignore"] = "forbid") -> T:
    """The text as `kind`. `source` names it in `SchemaError`."""
    try:
        found = _adapter(kind).validate_json(text, strict=True, extra=unknown)
    except ValidationError as error:
        raise SchemaError(_first(error, source)) from None
    if key := _not_finite(found):
        raise SchemaError(f"{source}: {key} is not a finite number")
    return found


def from_tree(tree: Mapping[str, Any], kind: type[T] | GenericAlias, source: str) -> T:
    """A tree as JSON gives it as `kind`."""
    return parse_json(json.dumps(tree), kind, source)


@functools.cache
def _adapter(kind: type | GenericAlias) -> TypeAdapter:
    return TypeAdapter(kind)


def _first(error: ValidationError, source: str) -> str:
    """One line: the file, the key, what is there, and what is expected."""
    wrong = error.errors(include_url=False)[0]
    if wrong["type"] == "json_invalid":
        return f"{source} is not JSON ({wrong['ctx']['error']})"
    key = ".".join(str(part) for part in wrong["loc"])
    at = f"{source}: {key}" if key else source
    if wrong["type"] == "missing":
        return f"{source} is damaged: it lacks {key!r}"
    if wrong["type"] == "unexpected_keyword_argument":
        return f"{at} is an unknown field. Was it written by another version?"
    if wrong["type"] == "value_error":
        return f"{at}: {wrong['ctx']['error']}"
    found = repr(wrong["input"])
    return f"{at} is {found if len(found) <= 80 else found[:77] + '…'}; {wrong['msg'][0].lower()}{wrong['msg'][1:]}"


def _not_finite(tree: Any, key: str = "") -> str | None:
    """The key of a number that JSON has not, NaN or infinite, though its parser reads it."""
    items: Callable[[], Any] | None = None
    if dataclasses.is_dataclass(tree):
        items = vars(tree).items
    elif isinstance(tree, Mapping):
        items = tree.items
    elif isinstance(tree, list | tuple):
        items = functools.partial(enumerate, tree)
    if items is not None:
        return next(filter(None, (_not_finite(value, f"{key}.{name}" if key else str(name)) for name, value in items())), None)
    return key if isinstance(tree, float) and not math.isfinite(tree) else None
