"""Which object is foremost: cases built by hand, where rules that compare whole masks fail."""

from __future__ import annotations

import numpy as np
import pytest

from data.peel.order import MutualOcclusion, foremost, relations

H = W = 100


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_cup_stands_on_a_slanted_tray() -> None:
    """The tray's front edge is nearer than the cup; where they touch, the cup is."""
    tray = box(40, 5, 95, 95)
    cup = box(35, 40, 55, 60)
    tray = tray & ~cup
    nearness = np.tile(np.linspace(0, 1, H)[:, None], (1, W))
    nearness[cup] = 0.60
    assert np.median(nearness[tray]) > np.median(nearness[cup])
    assert foremost([tray, cup], nearness) == 1


def test_what_does_not_touch_is_compared_as_a_whole() -> None:
    far, near = box(10, 10, 30, 30), box(60, 60, 90, 90)
    nearness = np.zeros((H, W))
    nearness[far], nearness[near] = 0.3, 0.8
    assert foremost([far, near], nearness) == 1
    assert foremost([near, far], nearness) == 0
    assert foremost([far, near], -nearness) == 0


def test_edges_that_bleed_do_not_decide() -> None:
    far, near = box(10, 10, 50, 50), box(30, 45, 70, 90)
    far = far & ~near
    nearness = np.zeros((H, W))
    nearness[far], nearness[near] = 0.4, 0.6
    rim = far & (np.indices((H, W))[1] > 43)
    nearness[rim] = 1.0  # a depth network's halo along the border
    edges = relations([far, near], nearness)
    assert [(edge.near, edge.far) for edge in edges] == [(1, 0)]


def test_no_opinion_falls_to_who_stands_lower() -> None:
    high, low = box(10, 10, 40, 40), box(50, 50, 80, 80)
    nearness = np.random.default_rng(0).normal(0, 1e-3, (H, W))
    nearness[:, -10:] += 1  # the picture has depth, these two have not
    assert relations([high, low], nearness) == []
    assert foremost([high, low], nearness) == 1


@pytest.mark.parametrize("margin", [0.03, 0.3])
def test_interlocked_rings(margin: float) -> None:
    """Three bars, each over the next where they meet: faint opinions are cut at the least, clear ones refuse the picture."""
    a, b, c = box(20, 20, 30, 70), box(20, 70, 80, 80), box(70, 20, 80, 70) | box(30, 20, 70, 30)
    nearness = np.full((H, W), 0.5)
    nearness[:8], nearness[-8:] = 0, 1  # the picture's range
    rows, columns = np.indices((H, W))
    nearness[a & (columns > 50)] += margin
    nearness[b & (rows > 50)] += margin
    nearness[c & (rows < 50)] += margin * 0.9
    assert {(edge.near, edge.far) for edge in relations([a, b, c], nearness)} == {(0, 1), (1, 2), (2, 0)}
    if margin > 0.05:
        with pytest.raises(MutualOcclusion):
            foremost([a, b, c], nearness)
    else:
        assert foremost([a, b, c], nearness) == 0  # c over a was the faintest
