"""One picture taken apart (paper §3.4, Appendix A): foremost object first, its hole painted over, again on what is left.

order      masks and nearness         data.peel.order
alpha      trimap, matte              data.peel.matte
colour     unmixed at soft edges      data.peel.colour
hole       rim, shadow's skirt, fill  data.peel.hole
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from data.peel.candidates import Candidate, CandidateRules, find_candidates, iou, mask_iou
from data.peel.colour import unmixed
from data.peel.filters import FilterRules, LayerFigures, Rejected, check_layer, check_whole
from data.peel.hole import hole_of, pasted
from data.peel.matte import clean_mask, settled, trimap_of
from data.peel.order import MutualOcclusion, foremost
from data.peel.stages import Stages, Wanted
from data.scenes import alpha_box

SEED_BITS = 63


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeelSettings:
    """Everything that decides the result of a picture, beside its stages."""

    candidates: CandidateRules = CandidateRules()
    filters: FilterRules = FilterRules()
    skirt: float = 0.04
    """Of the short side: how far around an object its shadow is painted over too, twice as far below its middle."""
    retries: int = 2
    """Other seeds, where the fill draws the removed thing again."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Peeled:
    """A picture as layers, far to near, in the schema of `data.scenes.Scene.example`."""

    rgba: np.ndarray
    picture: np.ndarray
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    seed: int
    figures: dict[str, Any]

    def example(self) -> dict[str, Any]:
        """rgba, global, prompts, names, boxes, seed."""
        return {
            "rgba": self.rgba,
            "global": self.picture,
            "prompts": self.prompts,
            "names": self.names,
            "boxes": np.stack([alpha_box(layer[..., 3]) for layer in self.rgba]),
            "seed": self.seed,
        }


def peel(picture: np.ndarray, wanted: Wanted, stages: Stages, settings: PeelSettings, seed: int) -> Peeled:
    """The layers of a picture, uint8 (h, w, 3).

    Raises:
        Rejected: nothing was found, or what was made of it is not good enough; with the reason and its figures.
    """
    remaining, left_out = find_candidates(picture, wanted, stages, settings.candidates)
    figures: dict[str, Any] = {"left_out": left_out}
    if not remaining:
        raise Rejected("nothing found", figures)
    nearness = stages.depth(picture)
    current, near_to_far, whole_hole = picture, [], np.zeros(picture.shape[:2], bool)
    layer_figures: list[LayerFigures] = []
    while remaining:
        try:
            front = remaining.pop(foremost([one.mask for one in remaining], nearness))
        except MutualOcclusion as error:
            raise Rejected("mutual occlusion", figures) from error
        others = np.any([one.mask for one in remaining], axis=0) if remaining else np.zeros_like(front.mask)
        prompt = wanted.foregrounds[front.prompt]
        trimap = trimap_of(front.mask, prompt, others)
        alpha, believed = settled(stages.matte(current, trimap), trimap, front.mask)
        rgba = unmixed(current, alpha)
        hole = hole_of(alpha, others, settings.skirt)
        filled, tries = _filled(current, front, hole, remaining, wanted, stages, settings, seed)
        layer_figures.append(check_layer(current, filled, rgba, front, hole, others, believed, tries, prompt, settings.filters, figures))
        current, whole_hole = filled, whole_hole | hole
        near_to_far.append((rgba, prompt, wanted.looked_for[front.prompt]))
        remaining = _seen_again(current, remaining, hole, stages)
    background = np.concatenate([current, np.full((*current.shape[:2], 1), 255, np.uint8)], axis=-1)
    far_to_near = near_to_far[::-1]
    rgba = np.stack([background, *(layer for layer, _, _ in far_to_near)])
    figures["layers"] = [dataclasses.asdict(one) for one in layer_figures[::-1]]
    figures |= check_whole(picture, rgba, whole_hole, settings.filters, figures)
    return Peeled(
        rgba=rgba,
        picture=picture,
        prompts=(wanted.background, *(prompt for _, prompt, _ in far_to_near)),
        names=(wanted.background, *(name for _, _, name in far_to_near)),
        seed=seed,
        figures=figures,
    )


def _filled(
    current: np.ndarray,
    front: Candidate,
    hole: np.ndarray,
    remaining: list[Candidate],
    wanted: Wanted,
    stages: Stages,
    settings: PeelSettings,
    seed: int,
) -> tuple[np.ndarray, int]:
    """The picture without the front object, and the tries it took. Raises `Rejected` if the fill draws it again every time."""
    behind = [wanted.foregrounds[one.prompt] for one in remaining if (one.mask & hole).any()]
    prompt, removed = ", ".join([wanted.background, *behind]), wanted.foregrounds[front.prompt]
    for attempt in range(1 + settings.retries):
        painted = stages.fill(current, hole, prompt, removed, (seed + attempt) % 2**SEED_BITS)
        filled = pasted(current, painted, hole)
        if not _drawn_again(filled, front, hole, wanted, stages, settings):
            return filled, 1 + attempt
    raise Rejected("drawn again", {"object": removed, "tries": 1 + settings.retries})


def _drawn_again(filled: np.ndarray, front: Candidate, hole: np.ndarray, wanted: Wanted, stages: Stages, settings: PeelSettings) -> bool:
    """Whether the detector finds the removed thing in the hole."""
    for one in stages.detect(filled, (wanted.looked_for[front.prompt],)):
        x0, y0, x1, y1 = (round(side) for side in one.box)
        inside = hole[max(0, y0) : y1, max(0, x0) : x1]
        if one.score >= settings.candidates.min_score and inside.size and inside.mean() > 0.5 and iou(one.box, front.box) > 0.1:
            return True
    return False


def _seen_again(current: np.ndarray, remaining: list[Candidate], hole: np.ndarray, stages: Stages) -> list[Candidate]:
    """The remaining candidates with masks of the picture as it is now: what was covered may be seen. A mask that got worse is not taken."""
    touched = [one for one in remaining if (one.mask & hole).any() or _box_touches(one.box, hole)]
    if not touched:
        return remaining
    boxes = np.array([_grown(one, hole) for one in touched])
    masks, quality = stages.segment(current, boxes)
    fresh = {}
    for one, mask, good in zip(touched, masks, quality, strict=True):
        mask = clean_mask(np.asarray(mask, bool))
        kept = float((mask & one.mask).sum()) / max(1, int(one.mask.sum()))
        grew_elsewhere = bool((mask & ~one.mask & ~hole).sum() > 0.1 * one.mask.sum())
        if kept >= 0.9 and not grew_elsewhere and mask_iou(mask, one.mask) > 0.3:
            fresh[id(one)] = dataclasses.replace(one, mask=mask, quality=float(good))
    return [fresh.get(id(one), one) for one in remaining]


def _box_touches(box: np.ndarray, hole: np.ndarray) -> bool:
    x0, y0, x1, y1 = (max(0, round(float(side))) for side in box)
    return bool(hole[y0:y1, x0:x1].any())


def _grown(one: Candidate, hole: np.ndarray) -> np.ndarray:
    """The candidate's box, widened over the part of the hole that touches it, by half its own sides at most."""
    x0, y0, x1, y1 = one.box
    dx, dy = (x1 - x0) / 2, (y1 - y0) / 2
    h, w = hole.shape
    left, top, right, bottom = max(0, x0 - dx), max(0, y0 - dy), min(w, x1 + dx), min(h, y1 + dy)
    near = hole[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if rows.size == 0:
        return one.box
    return np.array(
        [
            min(x0, int(left) + columns[0]),
            min(y0, int(top) + rows[0]),
            max(x1, int(left) + columns[-1] + 1),
            max(y1, int(top) + rows[-1] + 1),
        ]
    )
