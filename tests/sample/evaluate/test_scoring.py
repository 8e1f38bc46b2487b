"""The scoring functions, on scenes whose scores are known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from dreamlayer_jax.metrics.pictures import psnr
from dreamlayer_jax.request import RequestError
from sample.evaluate.scenes import ScenePictures
from sample.evaluate.scoring import iou, probe_values, score_scenes, shadow_region, stray_alpha, visible_parts

NAMES = ("ball", "cube", "ring")
NOTHING = len(NAMES)
SIDE = 16
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


class ColorProbe:
    """Knows the three objects by their pure colours, with certainty."""

    names = NAMES

    def probabilities(self, rgb_01: np.ndarray) -> np.ndarray:
        distance = np.abs(rgb_01[..., None, :] - COLORS / 255).max(-1)
        classes = np.where(distance.min(-1) < 0.1, distance.argmin(-1), NOTHING)
        return np.eye(NOTHING + 1)[classes]


def square(number: int, rows: slice, columns: slice) -> np.ndarray:
    layer = np.zeros((SIDE, SIDE, 4), np.uint8)
    layer[rows, columns] = (*COLORS[number], 255)
    return layer


def scene(**changes: np.ndarray) -> ScenePictures:
    """A ball half behind a cube, on white."""
    layers = [np.full((SIDE, SIDE, 4), 255, np.uint8), square(0, slice(4, 8), slice(2, 10)), square(1, slice(4, 8), slice(6, 14))]
    picture = layers[0][..., :3].copy()
    picture[4:8, 2:6], picture[4:8, 6:14] = COLORS[0], COLORS[1]
    fields = {"rgba": np.stack(layers), "global_rgb": picture, **changes}
    return ScenePictures(names=("white", "ball", "cube"), prompts=("white", "a ball", "a cube"), seed=0, **fields)


def values(pictures: ScenePictures) -> dict[str, list[float]]:
    return score_scenes(ColorProbe(), [pictures])[0].values


def test_a_perfect_scene_has_perfect_scores_though_one_object_hides_half_of_another():
    got = values(scene())
    assert got.pop("psnr_blend")[0] > 90
    assert got.pop("psnr_blend_outside")[0] > 90
    assert got == {
        "agreement_foreground": [1, 1],
        "agreement_global": [1, 1],
        "agreement_blend": [1, 1],
        "layout_iou": [1, 1],
        "background_free": [1],
        "one_object": [1, 1],
        "stray_alpha": [0, 0],
        "ssim_blend": [pytest.approx(1)],
    }


def test_an_object_in_the_wrong_layer_is_wrong_there_and_right_in_the_global_picture():
    good = scene()
    got = values(scene(rgba=good.rgba[[0, 2, 1]]))
    assert got["agreement_foreground"] == [0, 0]
    assert got["agreement_global"] == [1, 1]


def test_an_object_missing_from_the_global_picture_costs_its_name_and_its_layout():
    good = scene()
    picture = np.where((good.global_rgb == COLORS[0]).all(-1, keepdims=True), COLORS[2], good.global_rgb)
    got = values(scene(global_rgb=picture))
    assert got["agreement_global"] == [0, 1]
    assert got["layout_iou"] == [0, 1]
    assert got["agreement_foreground"] == got["agreement_blend"] == [1, 1]


def test_an_object_in_the_background_and_a_second_object_in_a_layer_are_seen():
    rgba = scene().rgba.copy()
    rgba[0, :2, :2] = rgba[1, 0, :4] = (*COLORS[2], 255)
    got = values(scene(rgba=rgba))
    assert got["background_free"] == [0]
    assert got["one_object"] == [0, 1]


def test_an_empty_layer_is_not_pure():
    rgba = scene().rgba.copy()
    rgba[1] = 0
    got = values(scene(rgba=rgba))
    assert got["one_object"] == [0, 1]
    assert got["layout_iou"] == [0, pytest.approx(1)]


def test_soft_probabilities_are_summed_not_voted():
    probabilities = np.zeros((3, 2, 2, NOTHING + 1))
    probabilities[..., NOTHING] = 1
    probabilities[1, :, :, :] = (0.0, 0.3, 0.2, 0.5)  # no pixel's first choice is an object
    got = probe_values(probabilities, np.zeros((1, 2, 2)), [1])
    assert got["agreement_foreground"] == [1]


def test_visible_parts_are_disjoint_and_together_the_union():
    solid = np.random.default_rng(0).random((3, 8, 8)) < 0.5
    parts = visible_parts(solid)
    assert (parts.sum(0) == solid.any(0)).all()
    assert (parts[-1] == solid[-1]).all()


def test_iou_and_psnr_by_hand():
    a, b = np.zeros((2, 4, 4), bool)
    assert iou(a, b) == 0
    a[:, :2], b[:, 1:3] = True, True
    assert iou(a, b) == pytest.approx(1 / 3)
    assert psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)


def test_an_object_that_the_probe_does_not_know_is_named():
    with pytest.raises(RequestError, match="does not know unicorn"):
        score_scenes(
            ColorProbe(),
            [ScenePictures(rgba=scene().rgba, global_rgb=scene().global_rgb, names=("white", "unicorn", "cube"), prompts=(), seed=0)],
        )


def test_the_composite_is_scored_beside_the_blend():
    good = scene()
    wrong = np.where((good.global_rgb == COLORS[0]).all(-1, keepdims=True), COLORS[2], good.global_rgb)
    got = values(scene(composite_rgb=wrong))
    assert got["agreement_composite"] == [0, 1]
    assert got["agreement_blend"] == [1, 1]
    assert got["psnr_composite"] == [pytest.approx(psnr(wrong / 255, good.global_rgb / 255), rel=1e-5)]
    assert got["ssim_composite"][0] < 0.9
    assert values(scene(composite_rgb=good.global_rgb))["psnr_composite"][0] > 90


def test_a_shadow_is_measured_inside_and_the_rest_outside():
    """The global picture has a shadow of 40% below the objects; the composite has found half of it, and is too dark by 10% elsewhere."""
    picture, made = scene().global_rgb.copy(), scene().global_rgb.copy()
    picture[10:12] = 153
    made[10:12], made[:2] = 204, 230
    got = values(scene(global_rgb=picture, composite_rgb=made))
    assert got["psnr_blend_in_shadow"] == [pytest.approx(-20 * np.log10(0.4))]
    assert got["psnr_composite_in_shadow"] == [pytest.approx(-20 * np.log10(0.2))]
    assert got["psnr_blend_outside"][0] > 90
    assert got["psnr_composite_outside"] == [pytest.approx(-20 * np.log10(25 / 255 * np.sqrt(2 / 14)))]


def test_a_shadow_is_darker_by_over_a_tenth_and_under_no_foreground():
    blend, truth, alpha = np.full((4, 4, 3), 0.5, np.float32), np.full((4, 4, 3), 0.5, np.float32), np.zeros((2, 4, 4), np.float32)
    truth[0], truth[1], truth[2] = 0.44, 0.46, 0.6
    alpha[1, 0, :2] = 0.5
    shadow = shadow_region(truth, blend, alpha)
    assert np.argwhere(shadow).tolist() == [[0, 2], [0, 3]]


@pytest.mark.parametrize(("place", "counts"), [((8, 10), False), ((10, 10), True), ((8, 11), True)])
def test_stray_alpha_begins_over_two_pixels_from_the_object(place: tuple[int, int], counts: bool):
    alpha = np.zeros((SIDE, SIDE))
    alpha[6:9, 6:9] = 1
    assert stray_alpha(alpha) == 0
    alpha[place] = 0.5
    far = sum((max(6 - y, 0, y - 8)) ** 2 + (max(6 - x, 0, x - 8)) ** 2 > 4 for y, x in np.ndindex(SIDE, SIDE))
    expected = 0.5 / far if np.hypot(place[0] - 8, place[1] - 8) > 2 else 0
    assert stray_alpha(alpha) == pytest.approx(expected)
    assert counts == (expected > 0)


def test_stray_alpha_of_a_layer_without_an_object_is_all_of_it_and_of_a_full_one_nothing():
    assert stray_alpha(np.full((SIDE, SIDE), 0.25)) == 0.25
    assert np.isnan(stray_alpha(np.ones((SIDE, SIDE))))
    rgba = scene().rgba.copy()
    rgba[1, ..., 3] = 255
    assert values(scene(rgba=rgba))["stray_alpha"] == [0]
