"""Whether the networks gave numbers: found on the device while the work goes on, looked at once at the end.

A latent that is not finite stays so through every later step, so that the last one tells of all.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Bool

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.request import RequestError

UNET, UNET_HARMONIZING, DECODERS = "the UNet", "the UNet, while harmonising", "the autoencoder or the layer decoder"


class NotFiniteError(RequestError):
    """A network gave infinities or no numbers at all."""


@jax.jit
def is_finite(*arrays: Array) -> Bool[Array, ""]:
    """Whether every entry is; stays on the device."""
    return jnp.stack([jnp.isfinite(array).all() for array in arrays]).all()


def require_finite(networks: Mapping[str, Bool[Array, ""]]) -> None:
    """Waits for the flags, in the order in which the networks ran. Raises `NotFiniteError` that names the first whose is False."""
    for network, finite in networks.items():
        if not finite:
            raise NotFiniteError(
                f"{network} gave values that are infinite or no numbers: its weights are damaged or of another kind of model, "
                f"or the number format is too narrow for them (try float32)"
            )
