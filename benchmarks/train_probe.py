"""Trains the probe, and measures it on true held-out scenes: the ceiling of every figure that it gives.

    python -m benchmarks.train_probe train
    python -m benchmarks.train_probe score-truth

`train` reads the rendered training scenes of the pocket run, and renders those that are not there.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, Int
from tqdm.auto import tqdm

from data.world import emoji_world
from dreamlayer_jax.compositing import from_uint8, over_grey
from dreamlayer_jax.weights.files.errors import WeightsError
from sample.evaluate.intervals import summarize
from sample.evaluate.probe import FOLDER, SIDE, Probe, ProbeNet, load_probe, save_probe
from sample.evaluate.report import markdown_sections
from sample.evaluate.scenes import held_out_scenes, true_pictures
from sample.evaluate.scoring import score_scenes
from train.configs.pocket import PocketTraining
from train.optimizer import OptimizerConfig, make_optimizer
from train.run_facts import git_commit
from train.scene_cache import build_scene_cache, open_scene_cache

SOFTEST = 4  # passes of `binomial`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Trains the probe on rendered training scenes: five in eight global pictures, the others single layers."""

    scenes: Path = Path("runs/pocket/scenes")
    out: Path = FOLDER
    steps: int = 2_400
    batch: int = 32
    seed: int = 0
    truth_scenes: int = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreTruth:
    """Scores true held-out scenes with the trained probe."""

    probe: Path = FOLDER
    count: int = 200


def pixel_classes(rgba: np.ndarray, classes: Sequence[int], nothing: int) -> Int[np.ndarray, "h w"]:
    """The class of the nearest object whose alpha is over half at each pixel. rgba (l, h, w, 4) uint8, objects only, far to near."""
    target = np.full(rgba.shape[1:3], nothing, np.int32)
    for layer, number in zip(rgba, classes, strict=True):
        target[layer[..., 3] > 127] = number
    return target


def training_batch(shards: Sequence[Any], index: dict[str, int], rng: np.random.Generator, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (b, h, w, 3) float32 in [0, 1] and their pixel classes (b, h, w): 5/8 global, 1/4 foregrounds on grey, 1/8 backgrounds."""
    pictures, targets = [], []
    for n in range(batch):
        shard = shards[rng.integers(len(shards))]
        scene = int(rng.integers(len(shard.rgba)))
        classes = [index[name] for name in shard.names[scene][1:]]
        if n < batch * 5 // 8:
            pictures.append(from_uint8(np.asarray(shard.global_rgb[scene])))
            targets.append(pixel_classes(shard.rgba[scene, 1:], classes, len(index)))
            continue
        layer = 0 if n < batch * 6 // 8 else int(rng.integers(1, shard.k))
        rgba = np.asarray(shard.rgba[scene, layer])
        pictures.append(over_grey(from_uint8(rgba)))
        targets.append(pixel_classes(rgba[None], classes[layer - 1 : layer], len(index)) if layer else np.full(rgba.shape[:2], len(index)))
    return np.stack(pictures).astype(np.float32), np.stack(targets).astype(np.int32)


def augment(rgb_01: Float[Array, "b h w 3"], key: Array) -> Float[Array, "b h w 3"]:
    """Blurred (by up to a Gaussian's 1.4 pixels), tinted, noisy: a generator's pictures are softer than rendered ones."""
    soft, gain, shift, noise, strength = jax.random.split(key, 5)
    b = rgb_01.shape[0]
    softness = jax.random.uniform(soft, (b, 1, 1, 1), maxval=SOFTEST)
    x, blurred = jnp.zeros_like(rgb_01), rgb_01
    for passes in range(SOFTEST + 1):
        x = x + jnp.maximum(0, 1 - jnp.abs(softness - passes)) * blurred
        blurred = binomial(binomial(blurred, 1), 2)
    x = x * jax.random.uniform(gain, (b, 1, 1, 3), minval=0.9, maxval=1.1) + 0.05 * jax.random.normal(shift, (b, 1, 1, 1))
    x = x + 0.06 * jax.random.uniform(strength, (b, 1, 1, 1)) * jax.random.normal(noise, x.shape)
    return jnp.clip(x, 0, 1)


def binomial(x: Float[Array, "b h w c"], axis: int) -> Float[Array, "b h w c"]:
    """One pass of (1, 2, 1) / 4 along an axis, edges repeated; its variance is half a pixel squared."""
    padded = jnp.pad(x, [(int(n == axis), int(n == axis)) for n in range(x.ndim)], mode="edge")
    before, after = (jax.lax.slice_in_dim(padded, start, start + x.shape[axis], axis=axis) for start in (0, 2))
    return 0.5 * x + 0.25 * (before + after)


def truth_report(probe: Probe, count: int) -> dict[str, Any]:
    """The scores of true held-out scenes."""
    source = held_out_scenes(count)
    print(f"scoring {count} true held-out scenes")
    return summarize(score_scenes(probe, [true_pictures(source[n]) for n in range(count)]))


def train(arguments: Train) -> None:
    """Trains, measures on held-out truth, saves."""
    names = tuple(cutout.name for cutout in emoji_world().cutouts)
    index = {name: number for number, name in enumerate(names)}
    build_scene_cache(PocketTraining().scenes, arguments.scenes)
    shards = open_scene_cache(PocketTraining().scenes, arguments.scenes)
    net = ProbeNet(len(names) + 1)
    params = net.init(jax.random.key(arguments.seed), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, adam_learning_rate=2e-3, warmup_steps=30), arguments.steps)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, rgb_01: Array, target: Array, key: Array) -> tuple[Any, Any, Array]:
        mirror, key = jax.random.split(key)
        flip = jax.random.bernoulli(mirror, shape=(len(rgb_01), 1, 1))
        rgb_01 = augment(jnp.where(flip[..., None], rgb_01[:, :, ::-1], rgb_01), key)
        target = jnp.where(flip, target[:, :, ::-1], target)

        def loss(params: Any) -> Array:
            return optax.softmax_cross_entropy_with_integer_labels(net.apply({"params": params}, rgb_01), target).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    rng, state = np.random.default_rng(arguments.seed), optimizer.init(params)
    with tqdm(range(arguments.steps), desc="probe", mininterval=5) as bar:
        for number in bar:
            key = jax.random.fold_in(jax.random.key(arguments.seed), number)
            params, state, value = step(params, state, *training_batch(shards, index, rng, arguments.batch), key)
            if number % 50 == 49:
                bar.set_postfix(loss=f"{float(value):.4f}")
    probe = Probe(names=names, params=jax.tree.map(lambda x: np.asarray(x, np.float16).astype(np.float32), params))
    report = truth_report(probe, arguments.truth_scenes)
    facts = {
        "command": sys.argv[1:],
        "commit": git_commit(Path(__file__).parent),
        "steps": arguments.steps,
        "batch": arguments.batch,
        "truth": report,
    }
    save_probe(probe, facts, arguments.out)
    print(f"wrote {arguments.out}/probe.safetensors and probe.json")


def score_truth(arguments: ScoreTruth) -> None:
    """Prints the table of true held-out scenes."""
    print(markdown_sections(truth_report(load_probe(arguments.probe), arguments.count)))


def main(arguments: Train | ScoreTruth) -> None:
    """Runs one command; what a user can put right ends as one line."""
    try:
        train(arguments) if isinstance(arguments, Train) else score_truth(arguments)
    except (WeightsError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(tyro.cli(Annotated[Train, tyro.conf.subcommand("train")] | Annotated[ScoreTruth, tyro.conf.subcommand("score-truth")]))
