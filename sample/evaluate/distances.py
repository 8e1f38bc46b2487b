"""Fréchet distances of each role's pictures from the true held-out scenes' pictures, and CLIP scores: what is read off features.

Background and foreground are compared with the true scenes' own; the global picture, the blend and the composite all with the true global
pictures, as the blend and the composite are to be whole pictures too. True and made scenes have the same prompts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from sample.evaluate.clip import Clip
from sample.evaluate.intervals import Figure, SceneScores, as_figure, bootstrap_frechet, groups_of
from sample.evaluate.scenes import ROLES, WHOLE, ScenePictures

RoleFeatures = dict[str, list[Float[np.ndarray, "n d"]]]
"""Each scene's features of every role; no rows where the scene has no such picture."""


class Extractor(Protocol):
    """Pictures to features: `sample.evaluate.probe.Probe`, `sample.evaluate.clip.Clip`, `sample.evaluate.vision.Vision`."""

    title: str

    def features(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]: ...


def role_features(extractor: Extractor, scenes: Sequence[ScenePictures]) -> RoleFeatures:
    """Features of every picture of every scene; without roles that no scene has."""
    features = {}
    for role in ROLES:
        pictures = [scene.pictures(role) for scene in scenes]
        ends = np.cumsum([len(some) for some in pictures])
        if ends[-1]:
            features[role] = np.split(extractor.features(np.concatenate(pictures)), ends[:-1])
    return features


def frechet_figures(made: RoleFeatures, true: RoleFeatures, ks: Sequence[int]) -> dict[str, dict[str, Figure]]:
    """{"all" | "k=2" | …: {"frechet_" + role: Figure}}; scene n of `made` and of `true` have the same prompts and `ks[n]` layers.

    Without groups that have a single picture.
    """
    figures: dict[str, dict[str, Figure]] = {}
    for group, numbers in groups_of(ks).items():
        figures[group] = {}
        for role, scenes in made.items():
            truth = true["global" if role in WHOLE else role]
            found = bootstrap_frechet([scenes[n] for n in numbers], [truth[n] for n in numbers])
            if found is not None:
                figures[group][f"frechet_{role}"] = as_figure(found)
    return figures


def with_clip_scores(
    clip: Clip, scored: Sequence[SceneScores], scenes: Sequence[ScenePictures], features: RoleFeatures
) -> list[SceneScores]:
    """The scores with a CLIP score (Hessel et al. 2021, without their factor: 100 max(cos, 0)) of every picture and its prompt."""
    values: list[dict[str, Any]] = [dict(scene.values) for scene in scored]
    for role, rows in features.items():
        captions = [caption for scene in scenes for caption in scene.captions(role)]
        different = sorted(set(captions))
        text = dict(zip(different, clip.text_features(different), strict=True))
        for scene, pictures, into in zip(scenes, rows, values, strict=True):
            pairs = zip(pictures, scene.captions(role), strict=True)
            into[f"clip_{role}"] = [100 * max(_cosine(picture, text[caption]), 0.0) for picture, caption in pairs]
    return [dataclasses.replace(scene, values=into) for scene, into in zip(scored, values, strict=True)]


def _cosine(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
