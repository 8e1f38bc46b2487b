"""Figures and their intervals, on values and features of known distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from sample.evaluate.intervals import (
    SceneScores,
    bootstrap,
    bootstrap_frechet,
    bootstrap_frechet_gain,
    groups_of,
    share_interval,
    summarize,
)


def test_the_bootstrap_interval_agrees_with_the_normal_one():
    drawn = np.random.default_rng(1).normal(3.0, 1.0, 400)
    mean, low, high = bootstrap([[value] for value in drawn])
    assert mean == pytest.approx(drawn.mean())
    half = 1.96 * drawn.std() / 20
    assert (low, high) == (pytest.approx(mean - half, abs=0.02), pytest.approx(mean + half, abs=0.02))


def test_the_interval_is_of_scenes_not_objects():
    _, low, high = bootstrap([[value] for value in (0, 1) * 20])
    _, clustered_low, clustered_high = bootstrap([[value] * 3 for value in (0, 1) * 20])
    assert (clustered_low, clustered_high) == (low, high)


def test_scenes_without_a_value_are_left_out():
    assert bootstrap([[], [1.0, 2.0], [], [6.0]]) == bootstrap([[1.0, 2.0], [6.0]])
    assert bootstrap([[], [1.0, 2.0], [6.0]])[0] == 3
    with pytest.raises(ValueError, match="no scene has a value"):
        bootstrap([[], []])


@pytest.mark.parametrize("failed", [0.0, 1.0])
def test_a_share_of_none_or_all_has_the_exact_interval_of_its_scenes(failed: float) -> None:
    """SciPy's Clopper-Pearson interval: 200 scenes without a failure are [98.2%, 100%], however many objects each has."""
    exact = binomtest(round(200 * failed), 200).proportion_ci(method="exact")
    for objects in (1, 3):
        mean, low, high = share_interval([[], *[[failed] * objects] * 200])
        assert (mean, low, high) == (failed, pytest.approx(exact.low), pytest.approx(exact.high))
    assert share_interval([[1.0], [0.0], [1.0]] * 9) == bootstrap([[1.0], [0.0], [1.0]] * 9)


def features(rng: np.random.Generator, scenes: int, shift: float = 0.0) -> list[np.ndarray]:
    """A scene has one picture or two."""
    return [rng.normal(shift, 1, (1 + n % 2, 3)) for n in range(scenes)]


def test_the_frechet_interval_lies_around_the_distance_and_finds_a_shift():
    """Three features shifted by 1 are 3 apart; the interval of 80 scenes is neither far from that nor empty."""
    rng = np.random.default_rng(0)
    middle, low, high = bootstrap_frechet(features(rng, 80, 1.0), features(rng, 80))
    assert low < middle < high
    assert low < 3 < high
    assert high - low < 3


def test_a_set_is_at_no_distance_from_itself_and_draws_take_the_same_scenes_on_both_sides():
    same = features(np.random.default_rng(0), 20)
    assert bootstrap_frechet(same, same) == pytest.approx((0, 0, 0), abs=1e-6)


def test_a_single_picture_has_no_distance():
    one = features(np.random.default_rng(0), 1)
    assert bootstrap_frechet(one, one) is None


def test_a_gain_of_distance_is_told_where_the_intervals_of_the_two_distances_overlap():
    rng = np.random.default_rng(0)
    true = features(rng, 60)
    first = [rng.normal(0.6, 1, rows.shape) for rows in true]
    other = [rows - 0.15 for rows in first]
    of_first, of_other = (bootstrap_frechet(made, true) for made in (first, other))
    assert of_other[2] > of_first[1]
    middle, low, high = bootstrap_frechet_gain(first, other, true, draws=100)
    assert middle == pytest.approx(of_other[0] - of_first[0])
    assert low < middle < high < 0
    assert bootstrap_frechet_gain(first, first, true, draws=20) == pytest.approx((0, 0, 0), abs=1e-9)


def scored(k: int, **values: list[float]) -> SceneScores:
    return SceneScores(names=("x",) * k, prompts=("x",) * k, seed=0, values=values)


def test_the_summary_has_each_group_and_only_what_was_measured():
    summary = summarize([scored(2, agreement_global=[1.0], psnr_blend=[20.0]), scored(3, agreement_global=[0.0, 0.0], ssim_blend=[])])
    assert {group: facts["scenes"] for group, facts in summary.items()} == {"all": 2, "k=2": 1, "k=3": 1}
    assert summary["all"]["agreement_global"] == {"mean": 33.3333, "low": 0, "high": 100}
    assert summary["k=2"]["psnr_blend"] == {"mean": 20, "low": 20, "high": 20}
    assert "psnr_blend" not in summary["k=3"]
    assert not any("ssim_blend" in facts for facts in summary.values())


def test_groups_are_all_and_each_k():
    assert groups_of([3, 2, 3]) == {"all": [0, 1, 2], "k=2": [1], "k=3": [0, 2]}
