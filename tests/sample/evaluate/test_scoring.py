"""The scoring functions, on scenes whose scores are known by construction, and the probe's own files."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.acceptance import Acceptance, AcceptanceError, batches_of_equal_k
from benchmarks.probe import Probe, ProbeNet, load_probe, save_probe
from benchmarks.scoring import (
    FIRST_SEED,
    METRICS,
    ScenePictures,
    bootstrap,
    held_out_scenes,
    iou,
    markdown_table,
    psnr,
    scene_values,
    score_scenes,
    summarize,
    true_pictures,
    visible_parts,
)
from benchmarks.train_probe import pixel_classes
from dreamlayer_jax.weights.errors import WeightsError

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
    assert got.pop("recomposition")[0] > 90
    assert got == {
        "own_layer": [1, 1],
        "global": [1, 1],
        "layout_iou": [1, 1],
        "background_free": [1],
        "one_object": [1, 1],
    }


def test_an_object_in_the_wrong_layer_is_wrong_there_and_right_in_the_global_picture():
    good = scene()
    got = values(scene(rgba=good.rgba[[0, 2, 1]]))
    assert got["own_layer"] == [0, 0]
    assert got["global"] == [1, 1]


def test_an_object_missing_from_the_global_picture_costs_its_name_and_its_layout():
    good = scene()
    picture = np.where((good.global_rgb == COLORS[0]).all(-1, keepdims=True), COLORS[2], good.global_rgb)
    got = values(scene(global_rgb=picture))
    assert got["global"] == [0, 1]
    assert got["layout_iou"] == [0, 1]
    assert got["own_layer"] == [1, 1]


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
    got = scene_values(probabilities, np.zeros((2, 2, 2, 4), np.uint8), [1])
    assert got["own_layer"] == [1]


def test_visible_parts_are_disjoint_and_together_the_union():
    solid = np.random.default_rng(0).random((3, 8, 8)) < 0.5
    parts = visible_parts(solid)
    assert (parts.sum(0) == solid.any(0)).all()
    assert (parts[-1] == solid[-1]).all()


def test_pixel_classes_take_the_nearest_object_with_alpha_over_half():
    rgba = np.stack([square(0, slice(0, 4), slice(0, 4)), square(1, slice(2, 6), slice(2, 6))])
    rgba[1, 2, 2, 3] = 127
    classes = pixel_classes(rgba, [0, 1], NOTHING)
    assert [classes[0, 0], classes[2, 2], classes[3, 3], classes[5, 5], classes[9, 9]] == [0, 0, 1, 1, NOTHING]


def test_iou_and_psnr_by_hand():
    a, b = np.zeros((2, 4, 4), bool)
    assert iou(a, b) == 0
    a[:, :2], b[:, 1:3] = True, True
    assert iou(a, b) == pytest.approx(1 / 3)
    assert psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)


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


def test_the_summary_has_every_metric_for_each_k_and_the_table_prints_it():
    two = ScenePictures(rgba=scene().rgba[:2], global_rgb=scene().global_rgb, names=("white", "ball"), prompts=("white", "a ball"), seed=1)
    summary = summarize(score_scenes(ColorProbe(), [scene(), two]))
    assert [(group, facts["scenes"]) for group, facts in summary.items()] == [("all", 2), ("k=2", 1), ("k=3", 1)]
    assert summary["all"]["own_layer"] == {"mean": 100, "low": 100, "high": 100}
    assert markdown_table(json.loads(json.dumps(summary))).count("\n") == len(METRICS) + 1


def test_an_object_that_the_probe_does_not_know_is_named():
    with pytest.raises(ValueError, match="does not know unicorn"):
        score_scenes(
            ColorProbe(),
            [ScenePictures(rgba=scene().rgba, global_rgb=scene().global_rgb, names=("white", "unicorn", "cube"), prompts=(), seed=0)],
        )


def test_evaluation_scenes_are_held_out_and_of_every_k():
    source = held_out_scenes(6)
    assert source.split == "held_out"
    assert source.seeds[0] == FIRST_SEED
    pictures = [true_pictures(source[n]) for n in range(3)]
    assert sorted(len(picture.rgba) for picture in pictures) == [2, 3, 4]


def test_batches_hold_every_example_once_with_one_k_each():
    examples = [{"names": ("x",) * k, "seed": n} for n, k in enumerate((2, 3, 4, 3, 3, 2))]
    batches = list(batches_of_equal_k(examples, 2))
    assert sorted(example["seed"] for batch in batches for example in batch) == list(range(6))
    assert all(len({len(example["names"]) for example in batch}) == 1 and len(batch) <= 2 for batch in batches)


def test_settings_that_cannot_be_measured_are_refused():
    with pytest.raises(AcceptanceError, match="count is 0"):
        Acceptance(count=0)


def test_a_probe_comes_back_from_its_files_and_gives_probabilities(tmp_path):
    params = ProbeNet(NOTHING + 1).init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    probe = Probe(names=NAMES, params=jax.tree.map(np.asarray, params))
    save_probe(probe, {"steps": 0}, tmp_path)
    loaded = load_probe(tmp_path)
    rgb_01 = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    probabilities = loaded.probabilities(rgb_01)
    assert loaded.names == NAMES
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, probe.probabilities(rgb_01), atol=2e-2)
    with pytest.raises(ValueError, match="64 pixels a side"):
        loaded.probabilities(rgb_01[:, :32])


def test_a_missing_or_damaged_probe_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"python -m benchmarks\.train_probe train"):
        load_probe(tmp_path)
    (tmp_path / "probe.json").write_text('{"names": ["ball"]}')
    (tmp_path / "probe.safetensors").write_bytes(b"short")
    with pytest.raises(WeightsError, match="damaged"):
        load_probe(tmp_path)
