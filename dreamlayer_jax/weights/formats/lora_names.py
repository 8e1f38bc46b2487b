"""How LoRA files name what they change: one normal form for every grammar.

    lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight                         kohya
    lora_unet_input_blocks_1_1_proj_in.lora_down.weight                                   the same in Stable Diffusion's original names
    unet.down_blocks.0.attentions.0.proj_in.lora_A.weight                                 peft, diffusers
    down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight older diffusers

A key is a module and one of its parts. Modules are looked up in a table of all spellings of all kernels of the model, dots flattened to
underscores as kohya does; nothing is parsed out of a flattened name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

from flax.traverse_util import flatten_dict

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.models.params import ParamPath
from dreamlayer_jax.weights.files.names import TEXT_PREFIX, key_of
from dreamlayer_jax.weights.files.original_names import UNET, original_key

Part = Literal["down", "up", "mid", "alpha"]

ENDINGS: dict[str, Part] = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.alpha": "alpha",
    ".lora.alpha": "alpha",
    ".alpha": "alpha",
}
PREFIXES = {  # flattened; the last are bare files of one network
    "unet": ("lora_unet_", "unet_", "base_model_model_", "unet_base_model_model_", ""),
    "text_encoder": ("lora_te_", "lora_te1_", "text_encoder_", "base_model_model_", "text_encoder_base_model_model_", ""),
}
OLDER_TEXT = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "out_proj": "to_out",
}  # as older diffusers' attention processors call them
UNSUPPORTED = {  # what is no LoRA in spite of its name, by a part of its keys
    "a LyCORIS LoHa": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    "a LyCORIS LoKr": ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    "a LyCORIS file of full differences": ("diff", "diff_b", "w_norm", "b_norm"),
    "a LyCORIS IA3": ("on_input",),
    "an OFT": ("oft_blocks", "oft_diag"),
    "a LyCORIS GLoRA": ("a1", "a2", "b1", "b2"),
    "a DoRA, on whose norm the programs that write it do not agree": ("dora_scale", "lora_magnitude_vector"),
}


class Piece(NamedTuple):
    """What a key of the file is."""

    module: str
    """The module in the file's own spelling."""
    part: Part


def piece_of(key: str) -> Piece | None:
    """The module and the part that a key names; None if the key is in no grammar of LoRA files."""
    parts = key.split(".")
    if len(parts) > 3 and parts[-1] == "weight" and parts[-3] in ("lora_A", "lora_B"):  # the adapter's name stands between
        key = ".".join([*parts[:-2], "weight"])
    for ending, part in ENDINGS.items():
        if key.endswith(ending):
            return Piece(key.removesuffix(ending), part)
    return None


def unsupported_kind(key: str) -> str | None:
    """The kind of file that has such a key, if it is a known one that is not read."""
    parts = key.split(".")
    if parts[0] == "bundle_emb":
        return "a LoRA with a textual inversion in it (take that out into a file of its own, and give it as an embedding)"
    if parts[-1] == "bias" and "lora_B" in parts:
        return "a LoRA with biases"
    return next((kind for kind, names in UNSUPPORTED.items() if any(name in parts for name in names)), None)


def kernel_of(module: str, config: DreamLayerConfig) -> ParamPath | None:
    """The path of the base's kernel that a module of a file names, network first; None if the model has no such module."""
    return _spellings(config).get(_flat(module.replace(".processor.", ".")))


def module_name(path: ParamPath) -> str:
    """The dotted name, as diffusers has it, of the module whose kernel is at `path`, without its network."""
    return key_of(path[1:]).removesuffix(".weight")


@cache
def _spellings(config: DreamLayerConfig) -> dict[str, ParamPath]:
    """Every spelling of every dense layer and convolution of the UNet and of the text tower, prefixes and all."""
    table: dict[str, ParamPath] = {}
    for path in flatten_dict(base_shapes(config)):
        if path[-1] == "kernel" and path[0] in PREFIXES:
            for name in _names(path, config):
                for prefix in PREFIXES[path[0]]:
                    other = table.setdefault(prefix + _flat(name), path)
                    assert other == path, f"{prefix}{name} names {other} and {path}"
    return table


def _names(path: ParamPath, config: DreamLayerConfig) -> Iterator[str]:
    name = module_name(path)
    yield name
    if path[0] == "unet":
        yield original_key(f"unet.{name}.weight", config).removeprefix(UNET).removesuffix(".weight")
        if name.endswith(".to_out.0"):
            yield name.removesuffix(".0")
    else:
        older = [name]
        for ours, theirs in OLDER_TEXT.items():
            if name.endswith(f".{ours}"):
                older.append(name.removesuffix(ours) + theirs)
        yield from older[1:]
        yield from (one.removeprefix(TEXT_PREFIX) for one in older)  # as transformers 5 names the tower's modules


def _flat(name: str) -> str:
    return name.replace(".", "_")
