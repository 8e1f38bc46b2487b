"""The probe: a small network that says which object each pixel shows. It measures generated layers; it takes no part in making them.

    taskset -c 1 nice -n 5 python -m benchmarks.probe train
    python -m benchmarks.probe score-truth

`train` reads the rendered training scenes of the pocket run (`python -m train --config pocket` renders them) and writes `probe.safetensors`
and `probe.json` into `benchmarks/probe/`; `score-truth` scores real held-out scenes, the ceiling of every figure that the probe gives.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from data.world import emoji_world
from dreamlayer_jax.compositing import from_uint8, over_grey
from dreamlayer_jax.weights.convert import WeightsError

FOLDER = Path(__file__).parent / "probe"
SIDE = 64
PATCH = 4


class ProbeNet(nn.Module):
    """Pixels to logits: 16x16 tokens of 4x4 pixels, a stage at 8x8 for context, back with a skip."""

    classes: int
    fine: int = 64
    coarse: int = 96

    @nn.compact
    def __call__(self, rgb_01: Float[Array, "b h w 3"]) -> Float[Array, "b h w n"]:
        fold = partial(rearrange, pattern="b (h p) (w q) c -> b h w (p q c)")
        unfold = partial(rearrange, pattern="b h w (p q c) -> b (h p) (w q) c")
        x = nn.Dense(self.fine, name="patch")(fold(rgb_01 * 2 - 1, p=PATCH, q=PATCH))
        x = skip = self._residual(x, "fine_in")
        x = nn.Dense(self.coarse, name="down")(fold(x, p=2, q=2))
        for number in range(3):
            x = self._residual(x, f"coarse_{number}")
        x = unfold(nn.Dense(4 * self.fine, name="up")(x), p=2, q=2) + skip
        x = nn.RMSNorm(name="norm_out")(self._residual(x, "fine_out"))
        return unfold(nn.Dense(PATCH * PATCH * self.classes, name="logits")(x), p=PATCH, q=PATCH)

    def _residual(self, x: Array, name: str) -> Array:
        y = nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv1")(nn.silu(nn.RMSNorm(name=f"{name}_norm1")(x)))
        return x + nn.Conv(x.shape[-1], (3, 3), name=f"{name}_conv2")(nn.silu(nn.RMSNorm(name=f"{name}_norm2")(y)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A trained probe. `names[i]` is class i; the class after the last is "nothing"."""

    names: tuple[str, ...]
    params: dict[str, Any]

    def probabilities(self, rgb_01: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w c"]:
        """Class probabilities of every pixel, "nothing" last. ValueError for pictures of another size than 64x64."""
        if rgb_01.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(
                f"the probe reads pictures of shape {(SIDE, SIDE, 3)}, got {rgb_01.shape[1:]}: generate at {SIDE} pixels a side"
            )
        pieces = [_probabilities(len(self.names) + 1, self.params, rgb_01[n : n + 64]) for n in range(0, len(rgb_01), 64)]
        return np.concatenate([np.asarray(piece) for piece in pieces])


@partial(jax.jit, static_argnames=("classes",))
def _probabilities(classes: int, params: dict[str, Any], rgb_01: Array) -> Array:
    return jax.nn.softmax(ProbeNet(classes).apply({"params": params}, rgb_01))


def save_probe(probe: Probe, facts: dict[str, Any], folder: Path = FOLDER) -> None:
    """Writes `probe.safetensors` (float16) and `probe.json` (names, how it was made, its accuracy), each atomically."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: np.asarray(value, np.float16) for key, value in flatten_dict(probe.params, sep=".").items()}
    write_atomically(folder / "probe.safetensors", save(tensors))
    write_atomically(folder / "probe.json", (json.dumps({"names": probe.names, **facts}, indent=2) + "\n").encode())


def load_probe(folder: Path = FOLDER) -> Probe:
    """The probe of a folder. Raises `WeightsError` if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        names = tuple(json.loads((folder / "probe.json").read_text())["names"])
        tensors = load_file(folder / "probe.safetensors")
    except FileNotFoundError as error:
        raise WeightsError(f"there is no probe at {error.filename}: make one by `python -m benchmarks.probe train`") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"the probe in {folder} is damaged ({error}): restore it, or `python -m benchmarks.probe train`") from error
    return Probe(names=names, params=unflatten_dict({key: value.astype(np.float32) for key, value in tensors.items()}, sep="."))


def write_atomically(path: Path, content: bytes) -> None:
    """A whole file or the old one: a temporary name, then a rename."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def pixel_classes(rgba: np.ndarray, classes: Sequence[int], nothing: int) -> Int[np.ndarray, "h w"]:
    """The class of the nearest object whose alpha is over half at each pixel. rgba (l, h, w, 4) uint8, objects only, far to near."""
    target = np.full(rgba.shape[1:3], nothing, np.int32)
    for layer, number in zip(rgba, classes, strict=True):
        target[layer[..., 3] > 127] = number
    return target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Trains the probe on rendered training scenes: half global pictures, the others single layers."""

    scenes: Path = Path("runs/pocket/scenes")
    out: Path = FOLDER
    steps: int = 600
    batch: int = 32
    seed: int = 0
    truth_scenes: int = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreTruth:
    """Scores true held-out scenes with the trained probe."""

    probe: Path = FOLDER
    count: int = 200


def training_batch(shards: Sequence[Any], index: dict[str, int], rng: np.random.Generator, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (b, h, w, 3) float32 in [0, 1] and their pixel classes (b, h, w): half global, 3/8 foregrounds on grey, 1/8 backgrounds."""
    pictures, targets = [], []
    for n in range(batch):
        shard = shards[rng.integers(len(shards))]
        scene = int(rng.integers(len(shard.rgba)))
        classes = [index[name] for name in shard.names[scene][1:]]
        if n < batch // 2:
            pictures.append(from_uint8(np.asarray(shard.global_rgb[scene])))
            targets.append(pixel_classes(shard.rgba[scene, 1:], classes, len(index)))
            continue
        layer = 0 if n < batch * 5 // 8 else int(rng.integers(1, shard.k))
        rgba = np.asarray(shard.rgba[scene, layer])
        pictures.append(over_grey(from_uint8(rgba)))
        targets.append(pixel_classes(rgba[None], classes[layer - 1 : layer], len(index)) if layer else np.full(rgba.shape[:2], len(index)))
    return np.stack(pictures).astype(np.float32), np.stack(targets).astype(np.int32)


def augment(rgb_01: Float[Array, "b h w 3"], key: Array) -> Float[Array, "b h w 3"]:
    """Blurred, tinted, noisy: a generator's pictures are softer than rendered ones."""
    soft, gain, shift, noise, strength = jax.random.split(key, 5)
    b = rgb_01.shape[0]
    blurred = rgb_01
    for axis in (1, 2):
        blurred = 0.5 * blurred + 0.25 * (jnp.roll(blurred, 1, axis) + jnp.roll(blurred, -1, axis))
    weight = jax.random.uniform(soft, (b, 1, 1, 1))
    x = rgb_01 + weight * (blurred - rgb_01)
    x = x * jax.random.uniform(gain, (b, 1, 1, 3), minval=0.9, maxval=1.1) + 0.05 * jax.random.normal(shift, (b, 1, 1, 1))
    x = x + 0.06 * jax.random.uniform(strength, (b, 1, 1, 1)) * jax.random.normal(noise, x.shape)
    return jnp.clip(x, 0, 1)


def truth_report(probe: Probe, count: int) -> dict[str, Any]:
    """The scores of true held-out scenes."""
    from benchmarks.scoring import held_out_scenes, score_scenes, summarize, true_pictures

    source = held_out_scenes(count)
    print(f"scoring {count} true held-out scenes")
    return summarize(score_scenes(probe, [true_pictures(source[n]) for n in range(count)]))


def train(arguments: Train) -> None:
    """Trains, measures on held-out truth, saves."""
    from train.configs.pocket import PocketTraining
    from train.optimizer import OptimizerConfig, make_optimizer
    from train.run_facts import git_commit
    from train.scene_cache import open_scene_cache

    names = tuple(cutout.name for cutout in emoji_world().cutouts)
    index = {name: number for number, name in enumerate(names)}
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

    rng, state, started = np.random.default_rng(arguments.seed), optimizer.init(params), time.monotonic()
    with tqdm(range(arguments.steps), desc="probe", mininterval=5) as bar:
        for number in bar:
            key = jax.random.fold_in(jax.random.key(arguments.seed), number)
            params, state, value = step(params, state, *training_batch(shards, index, rng, arguments.batch), key)
            if number % 50 == 49:
                bar.set_postfix(loss=f"{float(value):.4f}")
    seconds = time.monotonic() - started

    probe = Probe(names=names, params=jax.tree.map(lambda x: np.asarray(x, np.float16).astype(np.float32), params))
    report = truth_report(probe, arguments.truth_scenes)
    facts = {
        "command": sys.argv[1:],
        "commit": git_commit(Path(__file__).parent),
        "steps": arguments.steps,
        "batch": arguments.batch,
        "training_seconds": round(seconds),
        "truth": report,
    }
    save_probe(probe, facts, arguments.out)
    print(f"wrote {arguments.out}/probe.safetensors and probe.json after {seconds:.0f} s of training")


def score_truth(arguments: ScoreTruth) -> None:
    """Prints the table of true held-out scenes."""
    from benchmarks.scoring import markdown_table

    print(markdown_table(truth_report(load_probe(arguments.probe), arguments.count)))


def main(arguments: Train | ScoreTruth) -> None:
    """Runs one command; what a user can put right ends as one line."""
    try:
        train(arguments) if isinstance(arguments, Train) else score_truth(arguments)
    except (WeightsError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(tyro.cli(Annotated[Train, tyro.conf.subcommand("train")] | Annotated[ScoreTruth, tyro.conf.subcommand("score-truth")]))
