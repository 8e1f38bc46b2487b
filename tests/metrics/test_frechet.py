"""The Fréchet distance against its textbook form with SciPy's matrix square root, and against what is known of Gaussians."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dreamlayer_jax.metrics.frechet import frechet_distance


def features(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(6, 6))
    return scale * rng.normal(size=(n, 6)) @ mixing + shift


@pytest.mark.parametrize(("n", "m"), [(200, 150), (4, 5)])
def test_it_is_the_textbook_formula(n, m):
    a, b = features(n, 0), features(m, 1, shift=0.3, scale=1.4)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = sqrtm(cov_a @ cov_b + (1e-12 * np.eye(6) if n < 6 else 0)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * cross)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3 if n < 6 else 1e-8)


def test_the_same_set_has_no_distance_and_a_shift_has_its_square():
    a = features(100, 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, a + 0.5) == pytest.approx(6 * 0.25)


def test_too_few_features_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
