"""One attention of LayerDiffusion's files against numbers that LayerDiffusion's own class gave (PyTorch, float64)."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from dreamlayer_jax.config import FRAMES, LayerAttentionConfig, LayeredConfig, UNetConfig
from dreamlayer_jax.layer_axis import LAYER, LayerContext, Role
from dreamlayer_jax.models.attention_sites import attention_sites
from dreamlayer_jax.models.control import ControlConvs
from dreamlayer_jax.models.transformer import Attention
from dreamlayer_jax.weights.formats import layer_attention as reader

C, HEADS, RANK, B, T, WIDE, WORDS, SIGNAL = 8, 2, 3, 2, 4, 12, 5, 256
UNET = UNetConfig(block_out_channels=(C,), cross_attention=(True,), num_attention_heads=HEADS, cross_attention_dim=WIDE, norm_num_groups=2)
GOLDENS = {  # (attention, frames, control): output[0, 0, :3], output[−1, −1, −1], mean of its size
    ("attn1", 1, False): ((1.318549, 1.165997, 0.413164), 2.818829, 1.381864),
    ("attn1", 2, False): ((0.323435, -0.202397, -0.433806), -0.128444, 0.570257),
    ("attn1", 2, True): ((-4.328303, 3.382795, -3.070028), -1.344688, 2.231911),
    ("attn1", 3, False): ((0.740668, -0.005255, -0.594731), 1.621935, 0.771861),
    ("attn2", 1, False): ((1.658194, 0.564204, -0.775607), 2.661628, 1.390251),
    ("attn2", 2, False): ((1.549864, 0.465008, -0.850065), -0.327618, 0.803397),
    ("attn2", 2, True): ((-3.941140, 3.627388, -3.284776), -0.455886, 2.025740),
    ("attn2", 3, False): ((1.590060, 0.362037, -1.044042), 0.963718, 0.979475),
}
KIND = {1: "transparent_attn", 2: "bg2fg", 3: "joint"}


def fill(k: int, shape: tuple[int, ...]) -> np.ndarray:
    return 0.3 * np.sin(0.7 * np.arange(np.prod(shape)).reshape(shape) + 1.3 * k)


def by_layer(frames_fastest: np.ndarray, frames: int) -> np.ndarray:
    """(b f) of LayerDiffusion to our (l, b)."""
    return frames_fastest.reshape(-1, frames, *frames_fastest.shape[1:]).swapaxes(0, 1).astype(np.float32)


@pytest.mark.parametrize(("name", "frames", "with_control"), GOLDENS)
def test_one_attention(name: str, frames: int, with_control: bool) -> None:
    i = 0 if name == "attn1" else 1
    widths = (SIGNAL,) if frames == 2 else ()
    config = LayerAttentionConfig(kind=KIND[frames], control_widths=widths)
    prefix = f"hookers.layers.{i}."
    shapes = {key: shape for key, shape in reader.expected_shapes(config, RANK, UNET).items() if key.startswith(prefix)}
    shapes = {key: shape for key, shape in shapes.items() if with_control or "control" not in key}
    tensors = {key: fill(k, shapes[key]) + (key.endswith("temporal_n.weight")) for k, key in enumerate(sorted(shapes))}
    opened = reader.LayerAttentionFile(tensors=tensors, config=config, rank=RANK)

    site = attention_sites(UNET)[i]
    base = {f"to_{x}": fill(k, (C, site.source if x in "kv" else C)) for k, x in enumerate("qkv", start=100)} | {
        "to_out_0": fill(103, (C, C))
    }
    flat: dict[Any, Any] = {("unet", *site.path, x, "kernel"): weight.T.astype(np.float32) for x, weight in base.items()}
    flat["unet", *site.path, "to_out_0", "bias"] = fill(104, (C,)).astype(np.float32)
    flat |= reader.frame_kernels(opened, i, site, flat, jnp.asarray) | reader.exchange(opened, i, site, jnp.asarray)
    params = unflatten_dict(flat)["unet"]
    for part in site.path:
        params = params[part]

    h, prompt = by_layer(fill(200, (B * frames, T, C)), frames), by_layer(fill(201, (B * frames, WORDS, WIDE)), frames)
    control = None
    if with_control:
        convs = unflatten_dict(reader.control_convs(opened, i, jnp.asarray))["control"]
        signal = fill(202, (1, SIGNAL, 2, 2)).transpose(0, 2, 3, 1).astype(np.float32)
        control = {"added": jnp.stack([ControlConvs(C).apply({"params": convs[f"{frame}_{i}"]}, signal) for frame in FRAMES["bg2fg"]])}

    unread = jnp.zeros((frames, B, 1), bool)
    layer = LayerContext(
        role=jnp.array([Role[frame.upper()] for frame in config.frames]), valid=jnp.ones((frames, B), bool), prompt=jnp.asarray(prompt),
        own=unread, span=unread,
    )  # fmt: skip
    layered = LayeredConfig(foreground_kv=False, layer_shared=False, guided=False, layer_attention=config)

    @partial(jax.vmap, axis_name=LAYER[0])
    def one_layer(h: Any, layer: Any, control: Any) -> Any:
        collections = {"params": params} | ({} if control is None else {"control": control})
        return Attention(HEADS, layered, LAYER).apply(collections, h, None if name == "attn1" else layer.prompt, layer)[0]

    out = np.asarray(one_layer(h, layer, control)).swapaxes(0, 1).reshape(B * frames, T, C)
    first, last, mean = GOLDENS[name, frames, with_control]
    np.testing.assert_allclose([*out[0, 0, :3], out[-1, -1, -1], np.abs(out).mean()], [*first, last, mean], rtol=2e-6, atol=3e-6)
