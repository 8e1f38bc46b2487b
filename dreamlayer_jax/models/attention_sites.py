"""Every attention of a UNet, in the order in which LayerDiffusion's files number them: down, up, and the middle last."""

from __future__ import annotations

import dataclasses

from dreamlayer_jax.config import UNetConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One attention, self (attn1) or cross (attn2)."""

    path: tuple[str, ...]
    """In the UNet's parameters."""
    channels: int
    source: int
    """Channels of what keys and values are made from."""
    level: int
    """Its side is 1 / 2^level of the latent's."""


def attention_sites(config: UNetConfig) -> tuple[AttentionSite, ...]:
    """For each transformer block its self-attention, then its cross-attention; all down blocks, all up blocks, the middle block."""
    levels = len(config.block_out_channels)
    attended = [level for level in range(levels) if config.cross_attention[level]]
    blocks = [(f"down_blocks_{level}", level, config.layers_per_block) for level in attended]
    blocks += [(f"up_blocks_{levels - 1 - level}", level, config.layers_per_block + 1) for level in reversed(attended)]
    blocks.append(("mid_block", levels - 1, 1))
    return tuple(
        AttentionSite(
            path=(block, f"attentions_{i}", f"transformer_blocks_{j}", name),
            channels=config.block_out_channels[level],
            source=config.block_out_channels[level] if name == "attn1" else config.cross_attention_dim,
            level=level,
        )
        for block, level, transformers in blocks
        for i in range(transformers)
        for j in range(config.transformer_layers_per_block)
        for name in ("attn1", "attn2")
    )
