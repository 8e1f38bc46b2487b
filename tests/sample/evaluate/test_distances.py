"""Fréchet distances by role and CLIP scores, with features that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sample.evaluate.distances import frechet_figures, role_features, with_clip_scores
from sample.evaluate.intervals import SceneScores
from sample.evaluate.scenes import ScenePictures


class MeanColour:
    """A picture's mean colour; of a prompt, the colour that it begins with."""

    title = "mean colours"

    def features(self, rgb_01: np.ndarray) -> np.ndarray:
        return rgb_01.mean((1, 2))

    def text_features(self, prompts: list[str]) -> np.ndarray:
        return np.array([{"red": (2.0, 0, 0), "green": (0, 3.0, 0), "none": (-1.0, 0, 0)}[prompt.split()[0]] for prompt in prompts])


def scene(colour: tuple[int, int, int], k: int = 2, shade: int = 0, composite: bool = True, prompt: str = "red") -> ScenePictures:
    """Everything in one colour but the foregrounds, which are empty; the global picture is darker by `shade`."""
    rgba = np.zeros((k, 4, 4, 4), np.uint8)
    rgba[0] = (*colour, 255)
    whole = rgba[0, ..., :3]
    return ScenePictures(
        rgba=rgba,
        global_rgb=whole - np.uint8(shade),
        composite_rgb=whole if composite else None,
        names=("x",) * k,
        prompts=(f"{prompt} place", *("red thing",) * (k - 1)),
        seed=0,
    )


def test_every_role_is_compared_with_its_own_truth_and_whole_pictures_with_the_true_global_ones() -> None:
    colours = np.random.default_rng(0).integers(60, 200, (6, 3))
    ks = [2, 2, 2, 3, 3, 3]
    true = [scene(tuple(colour), k, shade=51, composite=False) for colour, k in zip(colours, ks, strict=True)]
    made = [scene(tuple(colour), k, shade=51) for colour, k in zip(colours, ks, strict=True)]
    extractor = MeanColour()
    truth = role_features(extractor, true)
    assert "composite" not in truth
    assert [len(rows) for rows in truth["foreground"]] == [1, 1, 1, 2, 2, 2]
    figures = frechet_figures(role_features(extractor, made), truth, ks)
    assert list(figures) == ["all", "k=2", "k=3"]
    for group in figures.values():
        for role, distance in (("background", 0), ("foreground", 0), ("global", 0), ("blend", 3 * 0.2**2), ("composite", 3 * 0.2**2)):
            assert group[f"frechet_{role}"]["mean"] == pytest.approx(distance, abs=1e-4)


def test_a_group_of_one_picture_has_no_distance() -> None:
    features = role_features(MeanColour(), [scene((9, 9, 9)), scene((99, 9, 9)), scene((9, 9, 99), 3)])
    figures = frechet_figures(features, features, [2, 2, 3])
    assert "frechet_global" in figures["k=2"]
    assert list(figures["k=3"]) == ["frechet_foreground"]  # two foregrounds, one of everything else


def test_clip_scores_are_of_each_picture_and_its_own_prompt() -> None:
    scenes = [scene((255, 0, 0), k=3, composite=False), scene((0, 255, 0), prompt="green"), scene((255, 0, 0), prompt="none")]
    scored = [SceneScores(names=one.names, prompts=one.prompts, seed=0, values={"psnr_blend": [1.0]}) for one in scenes]
    got = [each.values for each in with_clip_scores(MeanColour(), scored, scenes, role_features(MeanColour(), scenes))]
    assert [values["clip_background"] for values in got] == [[100], [100], [0]]  # a negative cosine counts as none
    assert got[0]["clip_foreground"] == [pytest.approx(100 / 3**0.5)] * 2  # mid-grey
    assert got[0]["clip_composite"] == []
    assert got[1]["psnr_blend"] == [1.0]
