"""Harmonisation and moving against truth: do shadows appear where they should, do they follow, do the foregrounds stay.

    python -m benchmarks.harmony --weights pocket --count 200
    python -m benchmarks.harmony --weights pocket --count 60 --fuse kept     Eq. 12 as it is written, whatever the model's own way is

True layers of held-out scenes are encoded, harmonised (IRH, Eq. 12) and compared with the true picture, which has the shadows that the
blend (Eq. 1) of the layers lacks. Every figure has a 95% bootstrap interval over scenes.

    shadow closer      scenes whose composite is nearer to the truth than the blend, in mean squared error
                       where shadows take over a tenth of the light
    shadow energy      how much darker than the blend the composite is there, as a share of how much darker the truth is
    kept               PSNR of the composite against a foreground where it is seen, dB
    shadow follows     scenes of one object, moved by a fifth of the canvas, whose darkening changes as the true
                       shadow moves: the sum of the two changes' product is over 0
    object named       the same scenes: a probe finds the named object in the moved scene's composite before any other
    object unchanged   the same scenes: PSNR of the object in the moved scene's composite, moved back, against the composite before, dB
    edited             PSNR of the moved scene's composite, and of its blend, against the composer's rendering of the move, dB
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from tqdm.auto import tqdm

from benchmarks.report import figures_of, write_report
from data.scenes import Scene, compose
from data.source import SceneSource
from data.world import emoji_world
from dreamlayer_jax.compositing import composite, from_uint8
from dreamlayer_jax.config import Fuse
from dreamlayer_jax.diffusion.denoise import noised
from dreamlayer_jax.diffusion.noise import layer_noise, scene_keys
from dreamlayer_jax.metrics.pictures import psnr
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.request import Sampling
from dreamlayer_jax.tasks.given import encode_layers_on_grey
from dreamlayer_jax.tasks.harmonize import harmonized, window_steps
from sample.evaluate.probe import load_probe
from sample.evaluate.scenes import FIRST_SEED
from sample.evaluate.scoring import visible_parts

MOVE = 0.2
SHADOW = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harmony:
    """Harmonises true held-out scenes and scores them."""

    weights: str = "pocket"
    count: int = 200
    first_seed: int = FIRST_SEED
    """Of the scenes; settings are chosen on others than the default's."""
    steps: int = 25
    guidance: float | None = None
    t_h: int | None = None
    """This and the next two: the model's own by default."""
    t_h_end: int | None = None
    fuse: Fuse | None = None
    batch: int = 20
    out: Path | None = None


def harmonised(model: DreamLayer, options: Harmony, scenes: list[Scene], rgba: np.ndarray) -> np.ndarray:
    """Composites (n, h, w, 3) in [0, 1] of layers (n, k, h, w, 4), with the scenes' prompts."""
    own = model.config.harmonize
    start, end = (own if given is None else given for own, given in zip(own.window, (options.t_h, options.t_h_end), strict=True))
    config = dataclasses.replace(model.config, harmonize=dataclasses.replace(own, fuse=options.fuse or own.fuse))
    model = dataclasses.replace(model, config=config)
    n, k = rgba.shape[:2]
    latents = encode_layers_on_grey(model, rgba.reshape(n * k, *rgba.shape[2:]))
    clean = jnp.moveaxis(jnp.asarray(latents.reshape(n, k, *latents.shape[1:])), 1, 0)
    clean = jnp.concatenate([clean, jnp.zeros_like(clean[:1])])
    sampling, window, keys = (
        Sampling(steps=options.steps, guidance=options.guidance),
        (start, end),
        scene_keys(scene.seed for scene in scenes),
    )
    steps = window_steps(model.steps(sampling), window)
    kept = noised(clean, layer_noise(keys, clean.shape, same=False), steps)
    layers, prompts = jnp.moveaxis(jnp.asarray(rgba), 1, 0), [scene.prompts for scene in scenes]
    change, _ = harmonized(model, prompts, kept, layers, steps, sampling=sampling, window=window, keys=keys)
    return np.clip(np.asarray(composite(from_uint8(layers)) + change), 0, 1)


def still(model: DreamLayer, options: Harmony, scenes: list[Scene]) -> list[dict[str, list[float]]]:
    """Scores of scenes of one layer count as they are."""
    composites = harmonised(model, options, scenes, np.stack([scene.rgba for scene in scenes]))
    return [still_scores(scene, made) for scene, made in zip(scenes, composites, strict=True)]


def still_scores(scene: Scene, made: np.ndarray) -> dict[str, list[float]]:
    """What a composite (h, w, 3) in [0, 1] of a scene's true layers is worth against the true picture."""
    truth, blend = from_uint8(scene.global_rgb), composite(from_uint8(scene.rgba))
    inside = scene.shadow > SHADOW
    darker = [(blend - picture)[inside].mean() if inside.any() else np.nan for picture in (made, truth)]
    errors = [((picture - truth) ** 2)[inside].mean() if inside.any() else np.nan for picture in (made, blend)]
    seen = zip(scene.rgba[1:], visible_parts(scene.rgba[1:, ..., 3] > 127), strict=True)
    return {
        "shadow_closer": [float(errors[0] < errors[1])] if inside.any() else [],
        "shadow_energy": [float(darker[0] / darker[1])] if inside.any() else [],
        "kept": [psnr(made, from_uint8(layer[..., :3]), part[..., None]) for layer, part in seen if part.any()],
    }


def moved(model: DreamLayer, options: Harmony, scenes: list[Scene]) -> list[dict[str, list[float]]]:
    """Scores of scenes of one object, before and after a move to the side with more room; the composer renders the moved scene for real."""
    world, probe, after = emoji_world(), load_probe(), []
    for scene in scenes:
        right = scene.boxes[1, 1] + scene.boxes[1, 3] < scene.rgba.shape[1]
        after.append(compose(world, scene.seed, k=2, split="held_out", moves=(MOVE if right else -MOVE,)))
    rgba = [np.stack([scene.rgba for scene in some]) for some in (scenes, after)]
    composites = [harmonised(model, options, scenes, layers) for layers in rgba]
    blends = [np.stack([composite(from_uint8(scene)) for scene in layers]) for layers in rgba]
    darkening = [(blend - made).mean(-1) for blend, made in zip(blends, composites, strict=True)]
    change = np.stack([new.shadow - old.shadow for old, new in zip(scenes, after, strict=True)])
    read = probe.probabilities(composites[1])[..., :-1].sum((1, 2)).argmax(-1)
    free = (rgba[0][:, 1, ..., 3] < 8) & (rgba[1][:, 1, ..., 3] < 8)
    agreement = ((darkening[1] - darkening[0]) * change * free).sum((1, 2))
    truth = [from_uint8(scene.global_rgb) for scene in after]
    return [
        {
            "follows": [float(agreement[n] > 0)],
            "named": [float(probe.names[read[n]] == scenes[n].names[1])],
            "unchanged": [moved_back(scenes[n], after[n], composites[0][n], composites[1][n])],
            "edit": [psnr(composites[1][n], truth[n])],
            "edit_blend": [psnr(blends[1][n], truth[n])],
        }
        for n in range(len(scenes))
    ]


def moved_back(before: Scene, after: Scene, made_before: np.ndarray, made_after: np.ndarray) -> float:
    """PSNR of the one object's pixels in two composites (h, w, 3), the second shifted back by the move, in dB."""
    (_, left, _, right), (_, new_left, _, new_right) = before.boxes[1], after.boxes[1]
    shift = new_left - left if min(left, new_left) > 0 else new_right - right  # an edge that the border does not cut
    solid, new_solid = (scene.rgba[1, ..., 3] > 127 for scene in (before, after))
    both = solid & np.roll(new_solid, -shift, axis=1)
    return psnr(np.roll(made_after, -shift, axis=1), made_before, both[..., None])


def measure(options: Harmony) -> dict[str, Any]:
    """Each figure's mean and interval."""
    model = DreamLayer.from_pretrained(options.weights)
    seeds = range(options.first_seed, options.first_seed + options.count)
    scored: list[dict[str, list[float]]] = []
    with tqdm(total=2 * options.count, desc="scenes") as bar:
        for kinds, score in (((2, 3, 4), still), ((2,), moved)):
            world = SceneSource(world=emoji_world(), seeds=seeds, split="held_out", layers=kinds)
            scenes = [world.scene(i) for i in range(options.count)]
            for k in kinds:
                equal = [scene for scene in scenes if len(scene.rgba) == k]
                for start in range(0, len(equal), options.batch):
                    scored += score(model, options, equal[start : start + options.batch])
                    bar.update(min(options.batch, len(equal) - start))
    return figures_of(scored)


def main(options: Harmony) -> None:
    """Prints the table; writes the report, atomically."""
    summary = measure(options)
    words = {
        "shadow_closer": "shadow closer, %",
        "shadow_energy": "shadow energy, %",
        "kept": "foregrounds kept, dB",
        "follows": "shadow follows, %",
        "named": "moved object named, %",
        "unchanged": "moved object unchanged, dB",
        "edit": "edited composite against the scene rendered with the edit, dB",
        "edit_blend": "edited blend against the same, dB",
    }
    for name, found in summary.items():
        title = words[name]
        scale = 100 if title.endswith("%") else 1
        figures = {key: scale * value for key, value in found.items()}
        print("| {title} | {mean:.1f} [{low:.1f}, {high:.1f}] |".format(title=title, **figures))
    write_report(options, summary, options.out)


if __name__ == "__main__":
    main(tyro.cli(Harmony))
