"""Layer-Shared Self-Attention, LSSA (paper §3.2), in every self-attention of the up path.

Eq. 9, while t ≥ T_G:  z̃^i = z^{k+1} · M_G^i + z^i · (1 − M_G^i)   for foregrounds i = 2…k
Eq. 10–11, at every t: O^i = softmax(Q^i (K^c)ᵀ / √d) V^c,  K^c, V^c = all layers' keys and values along the sequence

The keys grow with the layers, and with them the cost of each. Limited keys, not in the paper, hold that growth down: of a foreground all
layers then see only the tokens where its context map is highest (`most_of`, `limited_attention`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.attention.ring import ring_attention
from dreamlayer_jax.layer_axis import (
    ON_DEVICES,
    AxisNames,
    LayerContext,
    Role,
    as_one_batch,
    from_global,
    from_one,
    gather,
    gather_local,
    own,
    split,
)


def guide_by_global(
    z: Float[Array, "b h w c"],
    context_map: Float[Array, "b mh mw"],
    t: Int[Array, " b"],
    t_guided: int,
    layer: LayerContext,
    axis_names: AxisNames,
) -> Float[Array, "b h w c"]:
    """Eq. 9: a foreground's hidden states take the global layer's where its context map is high. Other layers stay as they are."""
    z_global = from_global(z, layer.role, axis_names)
    m = jax.image.resize(context_map, z.shape[:3], "linear")
    active = (layer.role == Role.FOREGROUND) & (t >= t_guided)
    active = active if layer.valid is None else active & layer.valid
    m = jnp.where(active[:, None, None], m, 0.0)[..., None].astype(z.dtype)
    return z_global * m + z * (1 - m)


def layer_shared_attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    layer: LayerContext,
    axis_names: AxisNames,
) -> Float[Array, "b t n d"]:
    """Eq. 10–11: this layer's queries attend to the keys and values of all valid layers; with `layer.keys` "global" to that one's alone.

    Keys of other devices are gathered, or come round a ring.
    """
    ring = layer.exchange == "ring" and ON_DEVICES in axis_names and layer.keys == "all"
    bring = gather_local if ring else gather
    if layer.keys == "global":
        keys, values, keep = from_global(k, layer.role, axis_names), from_global(v, layer.role, axis_names), None
    else:
        keys, values = (rearrange(bring(x, axis_names), "l b s n d -> b (l s) n d") for x in (k, v))
        keep = None if layer.valid is None else _keys_of(bring(layer.valid, axis_names), k.shape[1])
    return _for_all_here(ring_attention if ring else attention, q, keys, values, keep, axis_names)


def most_of(context_map: Float[Array, "b mh mw"], grid: tuple[int, int], share: float) -> Int[Array, "b n"]:
    """Which tokens of a `grid` (height, width) the map is highest at: `share` of them, at least one."""
    on_grid = jax.image.resize(context_map, (context_map.shape[0], *grid), "linear").reshape(context_map.shape[0], -1)
    return jax.lax.top_k(on_grid, max(1, round(share * on_grid.shape[1])))[1]


def limited_attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    few: Int[Array, "b m"],
    layer: LayerContext,
    axis_names: AxisNames,
) -> Float[Array, "b t n d"]:
    """Eq. 10–11 over all keys of the background and the global layer, and of each foreground those at the tokens `few`.

    The few are gathered from all devices, also where full keys would come round a ring.
    """
    valid = True if layer.valid is None else layer.valid
    is_background, is_foreground = (valid & (layer.role == role) for role in (Role.BACKGROUND, Role.FOREGROUND))

    def shared(x: Array) -> Array:
        of_foregrounds = gather(jnp.take_along_axis(x, few[:, :, None, None], axis=1), axis_names)
        of_foregrounds = split(of_foregrounds)[1] if layer.valid is None else of_foregrounds
        whole = from_one(x, is_background, axis_names), from_global(x, layer.role, axis_names)
        return jnp.concatenate([*whole, rearrange(of_foregrounds, "l b s n d -> b (l s) n d")], axis=1)

    keep = None
    if layer.valid is not None:  # places are then padded, and the layers' order does not tell the foregrounds
        keep = _keys_of(gather(is_foreground, axis_names), few.shape[1])
        keep = jnp.concatenate([jnp.ones((*keep.shape[:3], 2 * k.shape[1]), bool), keep], axis=3)
    return _for_all_here(attention, q, shared(k), shared(v), keep, axis_names)


def _keys_of(layers: Bool[Array, "l b"], tokens: int) -> Bool[Array, "b 1 1 s"]:
    """A mask of the keys of these layers alone, so many tokens each."""
    return jnp.repeat(layers.T, tokens, axis=1)[:, None, None, :]


def _for_all_here(
    attend: Callable[..., Array], q: Array, keys: Array, values: Array, keep: Array | None, axis_names: AxisNames
) -> Float[Array, "b t n d"]:
    """The layers of one device see the same keys, so their queries are one sequence."""
    queries = rearrange(gather_local(q, axis_names), "l b t n d -> b (l t) n d")
    out = attend(queries, keys, values, keep)
    return own(rearrange(out, "b (l t) n d -> l b t n d", t=q.shape[1]), axis_names)


def one_way_attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    layer: LayerContext,
    axis_names: AxisNames,
) -> Float[Array, "b t n d"]:
    """Eq. 10–11 for the global layer alone; the other layers' queries see their own keys, as without LSSA.

    Nothing of the whole picture can then leak into a layer, which an untrained model would let happen (`LayeredConfig.one_way`).
    """
    itself = as_one_batch(attention, axis_names, q, k, v)
    keys, values = (rearrange(gather(x, axis_names), "l b s n d -> b (l s) n d") for x in (k, v))
    keep = None if layer.valid is None else _keys_of(gather(layer.valid, axis_names), k.shape[1])
    whole = attention(from_global(q, layer.role, axis_names), keys, values, keep)
    return jnp.where(layer.role == Role.GLOBAL, whole, itself)
