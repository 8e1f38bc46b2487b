"""Projections of which some roles own a copy: foregrounds of K and V (paper §2), LayerDiffusion's frames of Q, K, V and output."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import RoleName
from dreamlayer_jax.layer_axis import Role


class Linear(nn.Module):
    """Kernel and bias of a linear map, by themselves."""

    shape: tuple[int, int]
    use_bias: bool = False

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "i o"], Float[Array, " o"] | None]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), self.shape)
        return kernel, self.param("bias", nn.initializers.zeros, self.shape[1:]) if self.use_bias else None


def project(
    x: Float[Array, "b t i"],
    features: int,
    name: str,
    dtype: Any,
    role: Int[Array, ""] | None = None,
    own: tuple[RoleName, ...] = (),
    use_bias: bool = False,
) -> Float[Array, "b t o"]:
    """x W + b with the layer's own W if its role is among `own`. Call inside a compact module; kernels are `name`, `name_foreground`, ….

    Choosing the kernel, not the result, keeps the cost of one projection. The bias, if any, is the same for all.
    """
    shape = (x.shape[-1], features)
    kernel, bias = Linear(shape, use_bias, name=name)()
    for other in own:
        kernel = jnp.where(role == Role[other.upper()], Linear(shape, name=f"{name}_{other}")()[0], kernel)
    out = x.astype(dtype) @ kernel.astype(dtype)
    return out if bias is None else out + bias.astype(dtype)[None, None]
