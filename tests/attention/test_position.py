"""The exchange over layers at each position: its laws, whatever the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamlayer_jax.attention.position import Across, After
from dreamlayer_jax.layer_axis import AxisNames, map_layers
from dreamlayer_jax.place import Place, make_place
from dreamlayer_jax.weights.formats.layer_attention import folded

L, B, T, C, HEADS = 4, 2, 3, 8, 2


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(L, B, T, C)).astype(np.float32)


@pytest.fixture
def params(randomised) -> Any:
    return randomised(Across(HEADS), np.zeros((B, T, C), np.float32), np.ones(B, bool))


def across(params: Any, y: np.ndarray, takes_part: np.ndarray, place: Place = Place()) -> np.ndarray:
    def program(axis_names: AxisNames) -> Callable[..., Any]:
        return lambda params, *layer: Across(HEADS, axis_names).apply({"params": params}, *layer)

    return np.asarray(map_layers(program, place)(params, y, takes_part))


def test_permuting_layers_permutes_what_they_are_told(params, y) -> None:
    everyone, order = np.ones((L, B), bool), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(across(params, y[order], everyone), across(params, y, everyone)[order], atol=1e-5)


def test_layers_that_take_no_part_are_not_heard(params, y) -> None:
    takes_part = np.ones((L, B), bool)
    takes_part[1, 0] = takes_part[2] = False
    heard, other = across(params, y, takes_part), y.copy()
    other[~takes_part] *= -2
    np.testing.assert_array_equal(across(params, other, takes_part)[takes_part], heard[takes_part])
    others = [0, 1, 3]
    np.testing.assert_allclose(across(params, y[others], np.ones((3, B), bool))[:, 1], heard[others, 1], atol=1e-5)


def test_positions_do_not_hear_each_other(params, y) -> None:
    everyone, other = np.ones((L, B), bool), y.copy()
    other[:, :, 1] *= -2
    same = across(params, y, everyone) == across(params, other, everyone)
    assert same[:, :, [0, 2]].all()
    assert not same[:, :, 1].any()


def test_a_frame_alone_is_told_an_affine_map(params, y) -> None:
    """The fold of a single frame, and what is left of queries and keys: nothing."""

    def in_float64(name: str, *parts: str) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(params[name][part], np.float64).T for part in parts)

    layers = (in_float64(name, "kernel", "bias") for name in ("proj_in", "to_v", "proj_out"))
    matrix, bias = folded(*in_float64("norm", "scale", "bias"), *layers)
    after = After().apply({"params": {"proj": {"kernel": matrix.T.astype(np.float32), "bias": bias.astype(np.float32)}}}, y[0])
    np.testing.assert_allclose(across(params, y[:1], np.ones((1, B), bool))[0], after, atol=1e-5)


@pytest.mark.parametrize("mesh", ["pmap", "data=1,layer=4", "data=2,layer=2"])
def test_wherever_the_layers_are(params, y, mesh) -> None:
    takes_part = np.ones((L, B), bool)
    takes_part[1, 0] = False
    np.testing.assert_allclose(across(params, y, takes_part, make_place(mesh)), across(params, y, takes_part), atol=1e-5)
