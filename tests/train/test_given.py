"""Which layers a training example shows clean."""

import jax
import numpy as np
import pytest

from train.given import GivenShares, draw_given


def test_nothing_is_given_by_default() -> None:
    assert not draw_given(jax.random.key(0), GivenShares(), 4, 50).any()


def test_shares() -> None:
    given = np.asarray(draw_given(jax.random.key(0), GivenShares(picture=0.3, layers=0.2, some=0.1), 4, 20_000)).T
    picture = (given == [False, False, False, True]).all(axis=1).mean()
    layers = (given == [True, True, True, False]).all(axis=1).mean()
    nothing = (~given).all(axis=1).mean()
    assert not given.all(axis=1).any()
    sixteenth = 0.1 / 16
    np.testing.assert_allclose([picture, layers, nothing], [0.3 + sixteenth, 0.2 + sixteenth, 0.4 + 2 * sixteenth], atol=0.012)


@pytest.mark.parametrize("shares", [{"picture": -0.1}, {"picture": 0.6, "some": 0.6}])
def test_shares_that_are_none(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="add up to at most 1"):
        GivenShares(**shares)
