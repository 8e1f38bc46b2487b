"""Pictures of composed scenes taken apart with stages that know the truth: what is lost is the algorithm's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.peel import hole as hole_module
from data.peel import peel as peel_module
from data.peel.filters import FilterRules, Rejected
from data.peel.oracle import Oracle
from data.peel.peel import Peeled, PeelSettings, peel
from data.peel.stages import Detection, Stages
from data.scenes import Scene, compose
from data.world import shapes_world
from dreamlayer_jax.compositing import composite, from_uint8, visibility

WITHOUT_DETAIL = PeelSettings(filters=FilterRules(check_sharpness=False, min_inside_db=0, min_outside_db=0, max_soft=1))
SEEDS = range(4)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    world = shapes_world()
    return [compose(world, seed, size=128, k=2 + seed % 3, split="held_out") for seed in SEEDS]


def taken_apart(scene: Scene, *, light: bool = False, networks: bool = True, settings: PeelSettings = WITHOUT_DETAIL) -> Peeled:
    oracle = Oracle(scene.rgba, scene.prompts, scene.taken if light else None)
    return peel(oracle.picture(), oracle.wanted, oracle.stages(networks=networks), settings, scene.seed)


def figures(scene: Scene, peeled: Peeled) -> dict[str, list[float]]:
    """Alpha's soft IoU, and mean absolute colour errors: where seen and solid, at soft edges, and of the background."""
    true, ours = from_uint8(scene.rgba), from_uint8(peeled.rgba)
    seen = visibility(true[..., 3])
    found: dict[str, list[float]] = {"iou": [], "visible": [], "soft": []}
    for layer in range(1, len(true)):
        a, b = true[layer, ..., 3], ours[layer, ..., 3]
        error = np.abs(true[layer, ..., :3] - ours[layer, ..., :3]).mean(axis=-1)
        soft = (a > 0.02) & (a < 0.98) & (seen[layer] > 0.9 * a)
        found["iou"].append(float(np.minimum(a, b).sum() / np.maximum(a, b).sum()))
        found["visible"].append(float(error[seen[layer] > 0.999].mean()))
        found["soft"].extend([float(error[soft].mean())] if soft.any() else [])
    found["background"] = [float(np.abs(true[0] - ours[0]).mean())]
    found["recomposition"] = [float(-10 * np.log10(((composite(ours) - from_uint8(peeled.picture)) ** 2).mean() + 1e-10))]
    return found


def all_figures(scenes: list[Scene], **options: bool) -> dict[str, np.ndarray]:
    return gathered([figures(scene, taken_apart(scene, **options)) for scene in scenes])


def gathered(each: list[dict[str, list[float]]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def test_with_true_stages_layers_come_back_in_order(scenes) -> None:
    peeled = [taken_apart(scene) for scene in scenes]
    assert [one.prompts for one in peeled] == [scene.prompts for scene in scenes]
    assert all((one.rgba[0, ..., 3] == 255).all() for one in peeled)
    found = gathered([figures(scene, one) for scene, one in zip(scenes, peeled, strict=True)])
    assert found["iou"].min() >= 0.999
    assert found["visible"].max() <= 0.002
    assert found["soft"].mean() <= 0.03
    assert found["background"].max() <= 0.001
    assert found["recomposition"].min() >= 45
    assert found["recomposition"].mean() >= 50


def test_shadows_leave_the_background_and_stay_in_the_picture(scenes) -> None:
    found = all_figures(scenes, light=True)
    assert found["iou"].min() >= 0.999
    assert found["background"].mean() <= 0.005
    assert 24 <= found["recomposition"].mean() <= 35  # Eq. 1 of true layers has about 29 dB: only the picture has shadows


def test_without_any_network(scenes) -> None:
    found = all_figures(scenes, networks=False)
    assert found["iou"].mean() >= 0.97  # few scenes; the benchmark takes 200
    assert found["iou"].min() >= 0.93
    assert found["visible"].max() <= 0.004
    assert found["soft"].mean() <= 0.03


def test_solid_pixels_that_are_seen_keep_the_pictures_own_bytes(scenes) -> None:
    for scene in scenes[:3]:
        peeled = taken_apart(scene, networks=False)
        nearest = peeled.rgba[-1]
        solid = nearest[..., 3] == 255
        np.testing.assert_array_equal(nearest[solid][:, :3], peeled.picture[solid])


def test_the_same_picture_gives_the_same_layers(scenes) -> None:
    one, two = (taken_apart(scenes[2], networks=False) for _ in range(2))
    np.testing.assert_array_equal(one.rgba, two.rgba)
    assert one.figures == two.figures


def test_negated_depth_is_noticed(scenes) -> None:
    """A wrong sign takes the farthest object first: the oracle's masks of covered objects then give wrong layers."""
    scene = next(scene for scene in scenes if len(scene.rgba) == 4)
    oracle = Oracle(scene.rgba, scene.prompts)
    wrong = dataclasses.replace(oracle.stages(), depth=lambda picture: -oracle.depth(picture))
    assert peel(oracle.picture(), oracle.wanted, wrong, WITHOUT_DETAIL, 0).prompts != scene.prompts


@pytest.mark.parametrize("mutation", ["colours copied", "no protection"])
def test_a_step_left_out_is_noticed(scenes, monkeypatch, mutation) -> None:
    if mutation == "colours copied":
        monkeypatch.setattr(peel_module, "unmixed", lambda picture, alpha: np.dstack([picture, np.rint(alpha * 255).astype(np.uint8)]))
    else:
        monkeypatch.setattr(peel_module, "hole_of", lambda alpha, others, skirt: hole_module.hole_of(alpha, np.zeros_like(others), 0.2))
    found = all_figures(scenes, networks=mutation != "no protection")
    assert found["soft"].mean() > 0.03 or found["background"].max() > 0.001 or found["visible"].max() > 0.004


def test_what_the_fill_draws_again_is_refused_after_other_seeds(scenes) -> None:
    oracle, seeds = Oracle(scenes[0].rgba, scenes[0].prompts), []
    stages = oracle.stages()

    def stubborn(picture: np.ndarray, hole: np.ndarray, prompt: str, negative: str, seed: int) -> np.ndarray:
        seeds.append(seed)
        return oracle.picture()  # the object is still there

    with pytest.raises(Rejected, match="drawn again") as refused:
        peel(oracle.picture(), oracle.wanted, dataclasses.replace(stages, fill=stubborn), WITHOUT_DETAIL, 7)
    assert seeds == [7, 8, 9]
    assert refused.value.figures["tries"] == 3


def test_nothing_found_is_refused(scenes) -> None:
    oracle = Oracle(scenes[0].rgba, scenes[0].prompts)
    blind = dataclasses.replace(oracle.stages(), detect=lambda picture, prompts: [])
    with pytest.raises(Rejected, match="nothing found"):
        peel(oracle.picture(), oracle.wanted, blind, WITHOUT_DETAIL, 0)


def test_a_mask_over_everything_is_refused(scenes) -> None:
    oracle = Oracle(scenes[0].rgba, scenes[0].prompts)
    side = scenes[0].rgba.shape[1]
    everything = Stages(
        detect=lambda picture, prompts: [Detection(prompt=0, box=(0, 0, side, side), score=0.9)] if not (picture == 1).any() else [],
        segment=lambda picture, boxes: (np.ones((len(boxes), side, side), bool), np.ones(len(boxes))),
        depth=oracle.depth,
        matte=lambda picture, trimap: (trimap > 0).astype(np.float32),
        fill=lambda picture, hole, prompt, negative, seed: np.ones_like(picture),
        described="everything",
    )
    with pytest.raises(Rejected, match="too large"):
        peel(oracle.picture(), oracle.wanted, everything, WITHOUT_DETAIL, 0)
