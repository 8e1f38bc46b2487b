"""What a tree of parameters is, and the address of one of them."""

from __future__ import annotations

from typing import Any

Params = dict[str, Any]
"""Nested dicts of arrays, as Flax has them; of a whole model, one branch a network."""

ParamPath = tuple[str, ...]
"""The keys from the root of a tree to one array."""
