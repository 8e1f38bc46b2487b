"""Layer-Shared Self-Attention, LSSA (paper §3.2), in every self-attention of the up path.

Eq. 9, while t ≥ T_G:  z̃^i = z^{k+1} · M_G^i + z^i · (1 − M_G^i)   for foregrounds i = 2…k
Eq. 10–11, at every t: O^i = softmax(Q^i (K^c)ᵀ / √d) V^c,  K^c, V^c = all layers' keys and values along the sequence
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from dreamlayer_jax.attention.core import attention
from dreamlayer_jax.layer_axis import AxisNames, LayerContext, Role, from_global, gather


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
    active = (layer.role == Role.FOREGROUND) & (t >= t_guided) & layer.valid
    m = jnp.where(active[:, None, None], m, 0.0)[..., None].astype(z.dtype)
    return z_global * m + z * (1 - m)


def layer_shared_attention(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s n d"],
    v: Float[Array, "b s n d"],
    valid: Bool[Array, " b"],
    axis_names: AxisNames,
) -> Float[Array, "b t n d"]:
    """Eq. 10–11: this layer's queries attend to the keys and values of all valid layers."""
    k_joint = rearrange(gather(k, axis_names), "l b s n d -> b (l s) n d")
    v_joint = rearrange(gather(v, axis_names), "l b s n d -> b (l s) n d")
    keep = jnp.repeat(gather(valid, axis_names).T, k.shape[1], axis=1)
    return attention(q, k_joint, v_joint, keep[:, None, None, :])
