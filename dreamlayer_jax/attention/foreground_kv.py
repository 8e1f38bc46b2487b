"""Projections of which the foreground layers own a second copy (paper §2: K and V of every attention, self and cross)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamlayer_jax.layer_axis import Role


class Kernel(nn.Module):
    """The kernel of a bias-free linear map, by itself."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> Float[Array, "i o"]:
        return self.param("kernel", nn.initializers.lecun_normal(), self.shape)


def project(x: Float[Array, "b t i"], features: int, name: str, dtype: Any, role: Int[Array, ""] | None = None) -> Float[Array, "b t o"]:
    """x W, or x W_foreground where the layer is a foreground. Call inside a compact module; the kernels are `name` and `name_foreground`.

    Choosing the kernel, not the result, keeps the cost of one projection. `role` None: the base kernel alone.
    """
    kernel = Kernel((x.shape[-1], features), name=name)()
    if role is not None:
        own = Kernel((x.shape[-1], features), name=f"{name}_foreground")()
        kernel = jnp.where(role == Role.FOREGROUND, own, kernel)
    return x.astype(dtype) @ kernel.astype(dtype)
