"""Which things of a picture become layers: boxes of the prompts, a mask for each, and what does not hold together left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from data.peel.matte import clean_mask
from data.peel.stages import Detection, Stages, Wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateRules:
    """Bounds of detection and segmentation; none is published, all are proposals."""

    min_score: float = 0.30
    """Of a detector's box."""
    same_prompt_iou: float = 0.70
    """Two boxes of one prompt over this are one."""
    other_prompt_iou: float = 0.85
    """Two boxes of different prompts over this are one thing: the better score stays."""
    max_layers: int = 4
    """Background included; the paper caps at 4, as generators fail with more."""
    min_quality: float = 0.70
    """Of a mask, by its segmenter."""
    min_box_iou: float = 0.50
    """Of a box and the tight box of its mask."""
    min_inside: float = 0.90
    """Share of a mask inside its box, widened by a twentieth."""
    same_mask_iou: float = 0.70
    """Two masks over this are one object."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A thing that becomes a layer: which prompt, where."""

    prompt: int
    box: np.ndarray
    score: float
    mask: np.ndarray
    quality: float


def find_candidates(picture: np.ndarray, wanted: Wanted, stages: Stages, rules: CandidateRules) -> tuple[list[Candidate], dict[str, int]]:
    """The candidates, best score first, and how many boxes were left out for which reason."""
    left_out: Counter[str] = Counter()
    detections = [one for one in stages.detect(picture, wanted.looked_for) if one.score >= rules.min_score]
    chosen = _assigned(_distinct(detections, rules, left_out), wanted, left_out)
    if not chosen:
        return [], dict(left_out)
    boxes = np.array([one.box for one in chosen], np.float64)
    masks, quality = stages.segment(picture, boxes)
    found: list[Candidate] = []
    for detection, box, mask, good in zip(chosen, boxes, masks, quality, strict=True):
        mask = clean_mask(np.asarray(mask, bool))
        if good < rules.min_quality:
            left_out["poor mask"] += 1
        elif not mask.any() or iou(tight_box(mask), box) < rules.min_box_iou or inside(mask, box) < rules.min_inside:
            left_out["mask and box disagree"] += 1
        elif any(mask_iou(mask, other.mask) > rules.same_mask_iou for other in found):
            left_out["same object twice"] += 1
        else:
            found.append(Candidate(prompt=detection.prompt, box=box, score=detection.score, mask=mask, quality=float(good)))
    ranked = sorted(found, key=lambda one: -one.score * float(np.sqrt(one.mask.sum())))
    left_out["more than the layers hold"] += max(0, len(ranked) - (rules.max_layers - 1))
    return ranked[: rules.max_layers - 1], dict(+left_out)


def _distinct(detections: Sequence[Detection], rules: CandidateRules, left_out: Counter[str]) -> list[Detection]:
    """Best score first; of boxes that are one by their overlap, the best."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda one: (-one.score, one.prompt, one.box)):
        bounds = (rules.same_prompt_iou if one.prompt == other.prompt else rules.other_prompt_iou for other in kept)
        if any(iou(one.box, other.box) > bound for other, bound in zip(kept, bounds, strict=True)):
            left_out["overlapping box"] += 1
        else:
            kept.append(one)
    return kept


def _assigned(detections: Sequence[Detection], wanted: Wanted, left_out: Counter[str]) -> list[Detection]:
    """As many boxes of a name as prompts ask for it: two of a thing are two foregrounds."""
    free = {name: [i for i, other in enumerate(wanted.looked_for) if other == name] for name in wanted.looked_for}
    chosen = []
    for one in detections:
        open_prompts = free[wanted.looked_for[one.prompt]]
        if open_prompts:
            chosen.append(dataclasses.replace(one, prompt=open_prompts.pop(0)))
        else:
            left_out["more boxes than prompts"] += 1
    return chosen


def tight_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of a mask that is not empty, ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / both if both > 0 else 0.0


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    both = int((a | b).sum())
    return float((a & b).sum()) / both if both else 0.0


def inside(mask: np.ndarray, box: Sequence[float]) -> float:
    """Share of the mask inside the box widened by a twentieth of its sides."""
    dx, dy = 0.05 * (box[2] - box[0]), 0.05 * (box[3] - box[1])
    y, x = np.indices(mask.shape) + 0.5
    near = (x > box[0] - dx) & (x < box[2] + dx) & (y > box[1] - dy) & (y < box[3] + dy)
    return float((mask & near).sum() / mask.sum())
