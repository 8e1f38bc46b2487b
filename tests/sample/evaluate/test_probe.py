"""The probe's files, its probabilities and its features."""

from __future__ import annotations

import numpy as np
import pytest

from dreamlayer_jax.weights.files.errors import WeightsError
from sample.evaluate.probe import Probe, load_probe, save_probe


@pytest.fixture(scope="module")
def probe() -> Probe:
    """The one that comes with the program."""
    return load_probe()


@pytest.fixture(scope="module")
def rgb_01() -> np.ndarray:
    return np.random.default_rng(0).random((3, 64, 64, 3), np.float32)


def test_a_probe_comes_back_from_its_files_and_gives_probabilities(probe, rgb_01, tmp_path):
    save_probe(probe, {"steps": 0}, tmp_path)
    loaded = load_probe(tmp_path)
    probabilities = loaded.probabilities(rgb_01)
    assert loaded.names == probe.names
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, probe.probabilities(rgb_01), atol=1e-6)
    with pytest.raises(ValueError, match="64 pixels a side"):
        loaded.probabilities(rgb_01[:, :32])


def test_features_are_one_row_a_picture_in_order_and_tell_pictures_apart(probe, rgb_01):
    features = probe.features(rgb_01)
    assert features.shape == (3, 96)
    np.testing.assert_allclose(probe.features(rgb_01[[2, 0, 1]]), features[[2, 0, 1]], rtol=1e-4, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-3


def test_a_missing_or_damaged_probe_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"python -m benchmarks\.train_probe train"):
        load_probe(tmp_path)
    (tmp_path / "probe.json").write_text('{"names": ["ball"]}')
    (tmp_path / "probe.safetensors").write_bytes(b"short")
    with pytest.raises(WeightsError, match="damaged"):
        load_probe(tmp_path)
