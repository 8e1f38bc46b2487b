"""Scenes of many layers: what limited keys cost in layout, and what a layer then costs.

    python -m benchmarks.many_layers --out many_layers.json

Layout: held-out scenes of 2, 4 and 8 objects, generated twice from the same noise, by full keys and by a share of each foreground's; layout
agreement as in the evaluation. Pocket was trained with up to three objects.
Cost: one pass of the layered UNet of Stable Diffusion 1.5 without guidance, random float32 weights, for layer batches of 4, 8 and 16
images: seconds a layer (the best of `repeats`), and the bytes a layer that XLA sets aside beside arguments and results.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.report import figures_of, write_report
from data.source import SceneSource
from data.world import emoji_world
from dreamlayer_jax.config import DreamLayerConfig, sd15
from dreamlayer_jax.diffusion.predict import predict
from dreamlayer_jax.layer_axis import LayerContext, roles
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.request import Sampling
from sample.evaluate.pictures import Making, generated_pictures
from sample.evaluate.probe import load_probe
from sample.evaluate.scenes import FIRST_SEED
from sample.evaluate.scoring import score_scenes

TOKENS = 77


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyLayers:
    """Full against limited keys."""

    weights: str = "pocket"
    share: float = 0.25
    """Of a foreground's keys."""
    objects: tuple[int, ...] = (2, 4, 8)
    count: int = 60
    """Scenes for each number of objects; 0 leaves layout out."""
    layers: tuple[int, ...] = (4, 8, 16)
    """Images of the layer batch whose cost is measured; none leaves cost out."""
    side: int = 512
    repeats: int = 2
    out: Path | None = None


def limited(config: DreamLayerConfig, share: float) -> DreamLayerConfig:
    """`config` with that share of a foreground's keys."""
    return dataclasses.replace(config, layered=dataclasses.replace(config.layered, foreground_keys=share))


def layout(options: ManyLayers) -> dict[str, Any]:
    """Layout agreement by number of objects, by full and by limited keys, and the difference scene by scene."""
    model, probe = DreamLayer.from_pretrained(options.weights), load_probe()
    model = model.with_foregrounds(max(options.objects))
    seeds = range(FIRST_SEED, FIRST_SEED + options.count)
    summary = {}
    for objects in options.objects:
        source = SceneSource(world=emoji_world(), seeds=seeds, k=objects + 1, split="held_out")
        examples = [source[n] for n in range(len(source))]
        scored = {}
        for share in (1.0, options.share):
            changed = dataclasses.replace(model, config=limited(model.config, share))
            scenes = generated_pictures(changed, Making(sampling=Sampling(), seed=0, batch=20, window=None), examples)
            scored[share] = [scene.values["layout_iou"] for scene in score_scenes(probe, scenes)]
        change = [list(np.subtract(*pair)) for pair in zip(scored[options.share], scored[1.0], strict=True)]
        by_name = {"full": scored[1.0], "limited": scored[options.share], "change": change}
        summary[f"{objects} objects"] = figures_of({name: values[n] for name, values in by_name.items()} for n in range(len(examples)))
        print(
            objects,
            "objects:",
            ", ".join(f"{name} {f['mean']:.3f} [{f['low']:.3f}, {f['high']:.3f}]" for name, f in summary[f"{objects} objects"].items()),
            flush=True,
        )
    return summary


def cost(options: ManyLayers) -> dict[str, Any]:
    """Seconds and bytes a layer, by full and by limited keys."""
    config, rng = sd15(), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * 0.02), param_shapes(config)["unet"])
    latent = options.side // config.vae.downscale
    summary = {}
    for layers in options.layers:
        z = jnp.asarray(rng.standard_normal((layers, 1, latent, latent, 4), np.float32))
        words = np.zeros((layers, 1, TOKENS), bool)
        words[:-1, :, 1:4] = True
        prompt = jnp.asarray(rng.standard_normal((layers, 1, TOKENS, config.text.hidden_size), np.float32))
        contexts = LayerContext(role=roles(layers), valid=None, prompt=prompt, own=jnp.asarray(words), span=jnp.asarray(words))
        for share in (1.0, options.share):
            step = jax.jit(
                lambda params, z, contexts, share=share: predict(limited(config, share), params, z, jnp.array([500]), contexts).sample
            )
            compiled = step.lower(params, z, contexts).compile()
            seconds = []
            for _ in range(options.repeats + 1):  # the first touches the memory
                start = time.perf_counter()
                jax.block_until_ready(compiled(params, z, contexts))
                seconds.append(time.perf_counter() - start)
            name = f"{layers} layers, {'full' if share == 1 else 'limited'}"
            bytes_ = compiled.memory_analysis().temp_size_in_bytes
            summary[name] = {"seconds a layer": min(seconds[1:]) / layers, "MiB a layer": bytes_ / layers / 2**20}
            print(name, summary[name], flush=True)
    return summary


def main(options: ManyLayers) -> None:
    """Measures, prints, and writes `options.out`."""
    summary = {}
    if options.count:
        summary["layout"] = layout(options)
    if options.layers:
        summary["cost"] = cost(options)
    write_report(options, summary, options.out)


if __name__ == "__main__":
    main(tyro.cli(ManyLayers, description=__doc__))
