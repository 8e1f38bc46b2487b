"""Trimap, matte, colour, hole and candidates, each against what can be said of it by hand."""

from __future__ import annotations

import numpy as np
import pytest

from data.peel.candidates import CandidateRules, find_candidates
from data.peel.colour import unmixed
from data.peel.hole import hole_of, pasted, smooth_fill
from data.peel.matte import INSIDE, OUTSIDE, UNKNOWN, clean_mask, closed_form, settled, trimap_of
from data.peel.stages import Detection, Stages, Wanted

SIDE = 64
ROWS, COLUMNS = np.indices((SIDE, SIDE))


def disc(radius: float, soft: float = 0.0, at: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Alpha of a disc, with an edge `soft` pixels wide."""
    distance = np.hypot(ROWS - at[0], COLUMNS - at[1])
    return (distance < radius).astype(np.float32) if soft == 0 else np.clip((radius - distance) / soft + 0.5, 0, 1).astype(np.float32)


def mixed(alpha: np.ndarray, near: tuple[int, int, int], far: tuple[int, int, int]) -> np.ndarray:
    return np.rint(alpha[..., None] * near + (1 - alpha[..., None]) * far).astype(np.uint8)


def test_a_trimap_is_sure_inside_and_outside_and_of_what_others_are() -> None:
    mask, other = disc(20) > 0, ROWS > 56
    trimap = trimap_of(mask, "a ball", other)
    assert trimap[32, 32] == INSIDE
    assert trimap[32, 52] == UNKNOWN
    assert trimap[2, 2] == OUTSIDE
    assert trimap[63, 32] == OUTSIDE
    wide, narrow = ((trimap_of(mask, prompt) == UNKNOWN).sum() for prompt in ("a fluffy dog", "a ball"))
    assert wide > 1.5 * narrow


def test_the_closed_form_matte_finds_a_soft_edge() -> None:
    alpha = disc(18, soft=5)
    picture = mixed(alpha, (200, 60, 40), (40, 90, 160))
    trimap = np.full(alpha.shape, UNKNOWN, np.uint8)
    trimap[disc(14) > 0], trimap[disc(23) == 0] = INSIDE, OUTSIDE
    assert np.abs(closed_form(picture, trimap) - alpha).max() < 0.03


def test_a_matte_that_disagrees_with_the_mask_is_not_believed() -> None:
    mask = disc(18) > 0
    trimap = trimap_of(mask, "a ball")
    good, believed = settled(disc(18, soft=3), trimap, mask)
    assert believed
    assert set(np.unique(good[trimap != UNKNOWN])) == {0, 1}
    everything_unknown = np.full_like(trimap, UNKNOWN)
    bad, believed = settled(np.full(mask.shape, 0.4, np.float32), everything_unknown, mask)
    assert not believed
    assert bad[32, 32] == 1
    assert bad[2, 2] == 0


def test_masks_lose_specks_and_pinholes() -> None:
    mask = disc(20) > 0
    mask[32, 32], mask[2, 2] = False, True
    cleaned = clean_mask(mask)
    assert cleaned[32, 32]
    assert not cleaned[2, 2]
    ring = (disc(20) > 0) & ~(disc(8) > 0)
    assert not clean_mask(ring)[32, 32]


def test_colours_of_a_soft_edge_are_the_layers_own() -> None:
    alpha = disc(18, soft=6)
    picture = mixed(alpha, (200, 60, 40), (40, 90, 160))
    layer = unmixed(picture, alpha)
    soft = (layer[..., 3] > 12) & (layer[..., 3] < 255)
    assert soft.sum() > 100
    assert np.abs(layer[soft][:, :3].astype(int) - (200, 60, 40)).mean() < 4
    assert np.abs(picture[soft].astype(int) - (200, 60, 40)).mean() > 40
    solid = layer[..., 3] == 255
    np.testing.assert_array_equal(layer[solid][:, :3], picture[solid])
    assert not layer[layer[..., 3] == 0].any()


def test_a_hole_has_a_skirt_below_and_spares_what_stands_beside() -> None:
    alpha, nothing = disc(8), np.zeros((SIDE, SIDE), bool)
    hole = hole_of(alpha, nothing, skirt=0.1)
    rows = np.flatnonzero(hole[:, 32])
    assert 32 - rows[0] < rows[-1] - 32
    assert hole[alpha > 0].all()
    beside = COLUMNS > 42
    spared = hole_of(alpha, beside, skirt=0.3)
    assert not spared[beside].any()
    covered = COLUMNS > 36  # partly under the layer: there it is unknown, and painted over
    assert hole_of(alpha, covered, skirt=0.3)[(alpha > 0) & covered].all()


def test_a_fill_that_changes_every_pixel_changes_the_hole_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    hole = disc(10) > 0
    result = pasted(picture, 255 - picture, hole)
    np.testing.assert_array_equal(result[~hole], picture[~hole])
    np.testing.assert_array_equal(result[32, 32], 255 - picture[32, 32])


def test_the_membrane_continues_a_ramp() -> None:
    """A linear picture is harmonic, so it comes back exactly."""
    picture = np.stack([2 * ROWS, 3 * COLUMNS, ROWS + COLUMNS], axis=-1).astype(np.uint8)
    hole = (disc(12) > 0) | (disc(6, at=(0, 60)) > 0)
    inner = disc(12) > 0
    filled = smooth_fill(picture, hole)
    assert np.abs(filled.astype(int) - picture)[inner].max() <= 1
    np.testing.assert_array_equal(filled[~hole], picture[~hole])


@pytest.fixture
def two_balls() -> tuple[np.ndarray, Stages]:
    """Two discs, and a detector that sees them many times."""
    masks = [disc(9, at=(20, 20)) > 0, disc(9, at=(44, 44)) > 0]
    boxes = [(11, 11, 30, 30), (35, 35, 54, 54)]

    def detect(picture: np.ndarray, prompts: tuple[str, ...]) -> list[Detection]:
        ball = prompts.index("ball") if "ball" in prompts else 0
        return [
            Detection(prompt=ball, box=boxes[0], score=0.9),
            Detection(prompt=ball, box=(12, 11, 30, 31), score=0.5),  # the same again
            Detection(prompt=ball, box=boxes[1], score=0.8),
            Detection(prompt=len(prompts) - 1, box=(11, 11, 30, 30), score=0.4),  # another word for the first
            Detection(prompt=ball, box=(0, 0, 5, 5), score=0.2),  # too faint
        ]

    def segment(picture: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([masks[0] if box[0] < 30 else masks[1] for box in wanted]), np.ones(len(wanted))

    stages = Stages(detect=detect, segment=segment, depth=None, matte=None, fill=None, described="")
    return np.zeros((SIDE, SIDE, 3), np.uint8), stages


def test_boxes_that_are_one_thing_become_one_candidate(two_balls) -> None:
    picture, stages = two_balls
    found, left_out = find_candidates(picture, Wanted(background="a room", foregrounds=("ball", "cat")), stages, CandidateRules())
    assert [one.prompt for one in found] == [0]
    assert left_out == {"overlapping box": 2, "more boxes than prompts": 1}


def test_two_of_a_thing_are_two_foregrounds(two_balls) -> None:
    picture, stages = two_balls
    wanted = Wanted(background="a room", foregrounds=("a red ball", "a blue ball"), names=("ball", "ball"))
    found, _ = find_candidates(picture, wanted, stages, CandidateRules())
    assert sorted(one.prompt for one in found) == [0, 1]


def test_a_mask_beside_its_box_is_left_out(two_balls) -> None:
    picture, stages = two_balls
    shifted = Stages(
        detect=lambda picture, prompts: [Detection(prompt=0, box=(24, 11, 43, 30), score=0.9)],
        segment=stages.segment, depth=None, matte=None, fill=None, described="",
    )  # fmt: skip
    found, left_out = find_candidates(picture, Wanted(background="a room", foregrounds=("ball",)), shifted, CandidateRules())
    assert found == []
    assert left_out == {"mask and box disagree": 1}
