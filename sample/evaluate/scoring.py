"""What a probe and the pixels say about a scene. Pure functions of pictures and of pixel probabilities.

For each scene, of its k - 1 objects and k layers:

    own layer       the object with most summed pixel probability in the layer, on mid-grey, is the named one
    whole picture   the named object is among the k - 1 with most summed pixel probability in it: global, blend, composite
    layout IoU      of the layer's alpha over one half, less what nearer layers hide, and the global picture's pixels of the named object
    background      at most 1% of the background's pixels are of any object
    one object      a foreground layer has some object, and any second one has under a tenth of its pixels
    stray alpha     a foreground's mean alpha over 2 pixels away from where it is over one half; 0 is clean
    recomposition   PSNR in dB, and SSIM, of Eq. 1's blend of the layers and of the IRH composite against the global picture

A generated scene has no true shadow. Its shadow is where no foreground covers anything and the global picture is darker than the blend by
over a tenth of the blend's luminance. The blend is poor there by this definition; how much the composite gains on it is the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from dreamlayer_jax.compositing import from_uint8
from dreamlayer_jax.metrics.pictures import psnr, ssim
from dreamlayer_jax.request import RequestError
from sample.evaluate.intervals import SceneScores
from sample.evaluate.scenes import ROLES, WHOLE, ScenePictures

BACKGROUND_SHARE = 0.01
SECOND_SHARE = 0.1
STRAY_DISTANCE = 2  # pixels
SHADOW = 0.1
CLEAR = 8 / 255  # alpha under this covers nothing
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709


class PixelProbe(Protocol):
    """`sample.evaluate.probe.Probe`, or anything that classifies pixels, "nothing" last."""

    names: tuple[str, ...]

    def probabilities(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w c"]: ...


def score_scenes(probe: PixelProbe, scenes: Sequence[ScenePictures]) -> list[SceneScores]:
    """Scores of each scene. `RequestError` for an object that the probe does not know."""
    index = {name: number for number, name in enumerate(probe.names)}
    scored = []
    for scene in scenes:
        unknown = [name for name in scene.names[1:] if name not in index]
        if unknown:
            raise RequestError(f"the probe does not know {', '.join(unknown)}; it knows: {', '.join(probe.names)}")
        probabilities = probe.probabilities(np.concatenate([scene.pictures(role) for role in ROLES]))
        alpha = from_uint8(scene.rgba[1:, ..., 3])
        values = probe_values(probabilities, alpha, [index[name] for name in scene.names[1:]])
        values["stray_alpha"] = [stray for stray in map(stray_alpha, alpha) if np.isfinite(stray)]
        scored.append(
            SceneScores(names=scene.names, prompts=scene.prompts, seed=scene.seed, values=values | recomposition_values(scene, alpha))
        )
    return scored


def probe_values(
    probabilities: Float[np.ndarray, "l h w c"], alpha_01: Float[np.ndarray, "f h w"], classes: Sequence[int]
) -> dict[str, list[float]]:
    """The metrics that need the probe.

    Args:
        probabilities: of the background, each foreground on grey, the global picture, and further whole pictures in the order of `WHOLE`
            if there are any; "nothing" is the last class.
        alpha_01: of the foregrounds, far to near.
        classes: the k - 1 named objects.
    """
    objects, f = probabilities.shape[-1] - 1, len(classes)
    found = probabilities.argmax(-1)
    mass = probabilities[..., :objects].sum((1, 2))
    pixels = [np.sort(np.bincount(layer[layer < objects], minlength=objects))[::-1] for layer in found[1 : f + 1]]
    visible = visible_parts(alpha_01 > 0.5)
    values = {
        "agreement_foreground": [float(layer.argmax() == named) for layer, named in zip(mass[1 : f + 1], classes, strict=True)],
        "layout_iou": [iou(part, found[f + 1] == named) for part, named in zip(visible, classes, strict=True)],
        "background_free": [float((found[0] < objects).mean() <= BACKGROUND_SHARE)],
        "one_object": [float(count[0] > 0 and count[1] < SECOND_SHARE * count[0]) for count in pixels],
    }
    for role, picture in zip(WHOLE, mass[f + 1 :], strict=False):
        top = np.argsort(-picture, kind="stable")[:f]
        values[f"agreement_{role}"] = [float(named in top) for named in classes]
    return values


def recomposition_values(scene: ScenePictures, alpha_01: Float[np.ndarray, "f h w"]) -> dict[str, list[float]]:
    """Blend and composite against the global picture; no value inside shadows where there are none."""
    (truth,) = scene.pictures("global")
    shadow = shadow_region(truth, scene.blend_01, alpha_01)[..., None]
    values = {}
    for role in ("blend", "composite"):
        for picture in scene.pictures(role):
            parts = {"in_shadow": psnr(picture, truth, shadow), "outside": psnr(picture, truth, ~shadow)}
            values |= {f"psnr_{role}_{where}": [figure] for where, figure in parts.items() if np.isfinite(figure)}
            values |= {f"psnr_{role}": [psnr(picture, truth)], f"ssim_{role}": [ssim(picture, truth)]}
    return values


def shadow_region(
    truth_01: Float[np.ndarray, "h w 3"], blend_01: Float[np.ndarray, "h w 3"], alpha_01: Float[np.ndarray, "f h w"]
) -> Bool[np.ndarray, "h w"]:
    """Where no foreground covers anything and `truth_01` is darker than the blend by over a tenth of the blend's luminance."""
    blend = blend_01 @ LUMINANCE
    return (alpha_01 < CLEAR).all(0) & (blend - truth_01 @ LUMINANCE > SHADOW * blend)


def stray_alpha(alpha_01: Float[np.ndarray, "h w"], distance: int = STRAY_DISTANCE) -> float:
    """Mean alpha of the pixels that are over `distance` pixels from any with alpha over one half; NaN where there are none."""
    height, width = alpha_01.shape
    solid, near = np.pad(alpha_01 > 0.5, distance), np.zeros(alpha_01.shape, bool)
    for dy, dx in np.ndindex(2 * distance + 1, 2 * distance + 1):
        if (dy - distance) ** 2 + (dx - distance) ** 2 <= distance**2:
            near |= solid[dy : dy + height, dx : dx + width]
    return float("nan") if near.all() else float(alpha_01[~near].mean())


def visible_parts(solid: Bool[np.ndarray, "l h w"]) -> Bool[np.ndarray, "l h w"]:
    """Each layer's pixels that no nearer layer covers; layers far to near."""
    parts, covered = [], np.zeros(solid.shape[1:], bool)
    for layer in solid[::-1]:
        parts.append(layer & ~covered)
        covered = covered | layer
    return np.stack(parts[::-1])


def iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union; 0 where both are empty, for then nothing was made."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0
