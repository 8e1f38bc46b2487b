"""A network that gives no numbers is named, once, at the end."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.request import RequestError
from dreamlayer_jax.tasks.finite import NotFiniteError, is_finite, require_finite


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_first_network_that_gives_no_numbers_is_named(wrong: float) -> None:
    good = jnp.zeros((2, 3))
    bad = good.at[1, 2].set(wrong)
    require_finite({"the UNet": is_finite(good), "the autoencoder": is_finite(good, good)})
    with pytest.raises(NotFiniteError, match=r"^the autoencoder gave values that are infinite"):
        require_finite({"the UNet": is_finite(good), "the autoencoder": is_finite(good, bad), "another": is_finite(bad)})
    assert issubclass(NotFiniteError, RequestError)
