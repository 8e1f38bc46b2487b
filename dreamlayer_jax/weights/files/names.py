"""The one rule between a PyTorch key of diffusers or transformers and a path in our parameter trees.

    down_blocks.0.resnets.1.conv1.weight   <->   ("down_blocks_0", "resnets_1", "conv1", "kernel")

A list index joins its list by an underscore, and the leaf's name says the layout: `kernel` of a convolution is HWIO here and OIHW there,
of a dense layer IO here and OI there; `scale` of a norm and `embedding` of a table are `weight` there, in the same layout; anything else
keeps its name.
"""

from __future__ import annotations

import re

import numpy as np

from dreamlayer_jax.models.params import ParamPath

NOT_A_LIST = {"linear_1", "linear_2"}  # diffusers' own spelling, in the time embedding
LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # autoencoders saved before diffusers 0.18
TEXT_PREFIX = "text_model."  # written by transformers 4, left out by transformers 5
NOT_A_PARAMETER = "embeddings.position_ids"  # 0, 1, 2, …, saved by transformers before 4.31


def key_of(path: ParamPath) -> str:
    """The PyTorch key of one of our paths."""
    *modules, leaf = path
    parts = [part if part in NOT_A_LIST else re.sub(r"_(\d+)$", r".\1", part) for part in modules]
    return ".".join([*parts, "weight" if leaf in ("kernel", "scale", "embedding") else leaf])


def modern_key(key: str) -> str | None:
    """`key` as `key_of` spells it, whatever release wrote the file; None if it names no parameter."""
    if key.endswith(NOT_A_PARAMETER):
        return None
    if re.match(r"(embeddings\.|encoder\.layers\.|final_layer_norm\.)", key):
        return TEXT_PREFIX + key
    return re.sub(r"(?<=\.attentions\.)(\d+)\.(query|key|value|proj_attn)\.", lambda m: f"{m[1]}.{LEGACY_ATTENTION[m[2]]}.", key)


def torch_shape(path: ParamPath, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that PyTorch gives the parameter at `path`, which is `shape` here."""
    if path[-1] != "kernel":
        return shape
    return (*shape[:-3:-1], *shape[:-2])


def from_torch(path: ParamPath, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's layout to ours, as a view: OIHW to HWIO and OI to IO for a `kernel`."""
    return np.moveaxis(tensor, (1, 0), (-2, -1)) if path[-1] == "kernel" else tensor


def to_torch(path: ParamPath, array: np.ndarray) -> np.ndarray:
    """Our layout to PyTorch's, as a view; the inverse of `from_torch`."""
    return np.moveaxis(array, (-2, -1), (1, 0)) if path[-1] == "kernel" else array
