"""From made scenes to figures: scores of each scene, and their summary with intervals and Fréchet distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sample.evaluate.clip import Clip
from sample.evaluate.distances import Extractor, frechet_figures, role_features, with_clip_scores
from sample.evaluate.intervals import SceneScores, summarize
from sample.evaluate.scenes import ScenePictures
from sample.evaluate.scoring import PixelProbe, score_scenes


def measure(
    scenes: Sequence[ScenePictures], truth: Sequence[ScenePictures], probe: PixelProbe, features: Extractor, clip: Clip | None = None
) -> tuple[list[SceneScores], dict[str, Any]]:
    """Scores and summary (`intervals.summarize`) of `scenes`; `truth` holds the true scene of each one's prompts, in any order.

    Args:
        scenes: as they were made.
        truth: for the Fréchet distances.
        probe: finds objects.
        features: what the distances are of.
        clip: adds CLIP scores.
    """
    true_of = {scene.seed: scene for scene in truth}
    made = role_features(features, scenes)
    scored = score_scenes(probe, scenes)
    if clip is not None:
        scored = with_clip_scores(clip, scored, scenes, made if clip is features else role_features(clip, scenes))
    summary = summarize(scored)
    true = role_features(features, [true_of[scene.seed] for scene in scenes])
    for group, figures in frechet_figures(made, true, [len(scene.names) for scene in scenes]).items():
        summary[group].update(figures)
    return scored, summary
