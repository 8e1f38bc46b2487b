"""Layer-Shared Self-Attention, LSSA (paper §3.2), in every self-attention of the up path.

Eq. 9, while t ≥ T_G:  z̃^i = z^{k+1} · M_G^i + z^i · (1 − M_G^i)   for foregrounds i = 2…k
Eq. 10–11, at every t: O^i = softmax(Q^i (K^c)ᵀ / √d) V^c,  K^c, V^c = all layers' keys and values along the sequence
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.attention.ring import ring_attention
from dreamlayer_jax.layer_axis import ON_DEVICES, AxisNames, LayerContext, Role, as_one_batch, from_global, gather, gather_local, own


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

    The layers of one device see the same keys, so their queries are one sequence. Keys of other devices are gathered, or come round a ring.
    """
    ring = layer.exchange == "ring" and ON_DEVICES in axis_names and layer.keys == "all"
    bring = gather_local if ring else gather
    queries = rearrange(gather_local(q, axis_names), "l b t n d -> b (l t) n d")
    if layer.keys == "global":
        keys, values, keep = from_global(k, layer.role, axis_names), from_global(v, layer.role, axis_names), None
    else:
        keys, values = (rearrange(bring(x, axis_names), "l b s n d -> b (l s) n d") for x in (k, v))
        keep = None if layer.valid is None else jnp.repeat(bring(layer.valid, axis_names).T, k.shape[1], axis=1)[:, None, None, :]
    out = (ring_attention if ring else attention)(queries, keys, values, keep)
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
    keep = None if layer.valid is None else jnp.repeat(gather(layer.valid, axis_names).T, k.shape[1], axis=1)[:, None, None, :]
    whole = attention(from_global(q, layer.role, axis_names), keys, values, keep)
    return jnp.where(layer.role == Role.GLOBAL, whole, itself)
