"""How Stable Diffusion's own training code, and so a single `.safetensors` file, spells a diffusers key.

    unet.down_blocks.1.resnets.0.conv1.weight   <->   model.diffusion_model.input_blocks.4.0.in_layers.2.weight

The UNet's blocks are numbered in one row there: with n residual blocks a level, level i begins at 1 + i (n + 1) going down, where the last
of its n + 1 places is the downsampling, and at i (n + 1) going up, where the upsampling shares the last place. A place holds the residual
block as 0 and, if there is one, the transformer as 1. The autoencoder numbers its up levels from the finest, diffusers from the coarsest.
"""

from __future__ import annotations

import re

from dreamlayer_jax.config import DreamLayerConfig

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
# Buffers of the noise schedule and the loss, a second (averaged) UNet beside the one that is used, 0, 1, 2, …, marks of what is predicted.
NOT_A_PARAMETER = re.compile(
    r"model_ema\.|first_stage_model\.loss\.|.*\.embeddings\.position_ids$|cond_stage_model\.logit_scale$"
    r"|(alphas_cumprod(_prev)?|betas|sqrt_\w+|log_one_minus_\w+|posterior_\w+|lvlb_weights|logvar|scale_factor|v_pred|ztsnr)$"
)
UNET_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_key(key: str, config: DreamLayerConfig) -> str:
    """The single file's spelling of "<network>.<diffusers key>"."""
    network, rest = key.split(".", 1)
    if network == "unet":
        return UNET + _unet(rest, config.unet.layers_per_block, config.unet.cross_attention[::-1])
    if network == "vae":
        return VAE + _vae(rest, len(config.vae.block_out_channels))
    return TEXT + rest


def parameter_key(key: str) -> str | None:
    """The file's key as `original_key` spells it; None if it names no parameter of the three networks."""
    if NOT_A_PARAMETER.match(key):
        return None
    return re.sub(r"^cond_stage_model\.transformer\.(?!text_model\.)", f"{TEXT}text_model.", key)


def _unet(key: str, n: int, attended_up: tuple[bool, ...]) -> str:
    for ours, theirs in UNET_OUTSIDE.items():
        if key.startswith(ours + "."):
            return theirs + _unet_inside(ours, key.removeprefix(ours))
    side, level, kind, index, inside = re.match(r"(down|up)_blocks\.(\d+)\.([a-z]+)\.(\d+)(.*)", key).groups()
    first = int(level) * (n + 1) + (side == "down")
    if kind == "downsamplers":
        return f"input_blocks.{first + n}.0.op{inside.removeprefix('.conv')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + n}.{2 if attended_up[int(level)] else 1}{inside}"
    row = "input_blocks" if side == "down" else "output_blocks"
    return f"{row}.{first + int(index)}.{0 if kind == 'resnets' else 1}{_unet_inside(kind, inside)}"


def _unet_inside(block: str, inside: str) -> str:
    """What follows a block's number; a transformer's parts have the same names in both."""
    return re.sub(r"^\.(\w+)", lambda m: f".{UNET_RESNET[m[1]]}", inside) if "resnets" in block else inside


def _vae(key: str, levels: int) -> str:
    key = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", key.replace("down_blocks.", "down."))
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key).replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"(?<=mid\.attn_1\.)(group_norm|to_[qkv]|to_out\.0)", lambda m: VAE_ATTENTION[m[1]], key)
    key = re.sub(r"(down|up)samplers\.0", r"\1sample", key.replace("resnets.", "block."))
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
