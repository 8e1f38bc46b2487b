"""The layered diffusion stage: UNet, text tower and layer-assign embeddings on cached latents (paper §3, Eq. 2 and 6-8).

Every batch holds scenes of one layer count, so nothing is padded. One timestep a scene, for all its layers (paper §9).
"""

from __future__ import annotations

import dataclasses
import shutil
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding

from dreamlayer_jax.compositing import mean_over_cells
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.decode import decode_latents
from dreamlayer_jax.diffusion.generate import generate_layers
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.losses import Weighting, map_losses, noise_loss, noise_weight
from dreamlayer_jax.diffusion.noise import scene_keys
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.diffusion.schedule import add_noise, alphas_cumprod, target
from dreamlayer_jax.diffusion.steps import sampling_steps
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.models.layered import is_attention, is_trained
from dreamlayer_jax.place import Place
from dreamlayer_jax.prompts import tokenize
from dreamlayer_jax.weights.formats.trained import save_trained
from train.batches import Part, batched
from train.given import GivenShares, draw_given
from train.latents import EncodedScenes
from train.optimizer import OptimizerConfig, make_optimizer
from train.stage import Batch, Params, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """λ of Eq. 8, the weighting of L_noise over timesteps, and what the model is not told or is shown clean."""

    noise: float = 1.0
    context: float = 1.0
    layout: float = 1.0
    weighting: Weighting = "uniform"
    prompt_dropout: float = 0.1
    given: GivenShares = GivenShares()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionStage(Stage):
    """`scenes_per_batch` scenes a step or, where that is None, about `images_per_batch` layer images: images // (k + 1) scenes of k layers.

    start: the parameters that training starts from; random without it.
    learns: everything; "paper", what DreamLayer trains (§2: both K/V sets, layer-assign embeddings, context-aware layers), whose export has
        a folder `trained/` for `from_pretrained`; "attention", that and every other parameter of the attentions, the text tower's too.
    place: devices, and the dtype of activations; what learns, the optimizer's state and the average are float32. On a mesh a batch has as
        many scenes as the axis "data" divides, at most those asked for.
    remat: gradient checkpointing; the backward pass keeps the inputs of the UNet's parts only and computes the rest again.
        On a CPU the compiled program saves nothing by it.
    """

    name: str = "diffusion"
    config: DreamLayerConfig
    tokenizer: Any
    sources: dict[int, EncodedScenes]  # by layer count k
    picture_prompts: tuple[tuple[str, ...], ...]  # scenes of one layer count
    vae_params: Params
    steps: int
    start: Params | None = None
    learns: Literal["everything", "attention", "paper"] = "everything"
    ema_decay: float = 0.999
    images_per_batch: int = 64
    scenes_per_batch: int | None = None
    place: Place = Place()
    remat: bool = False
    seed: int = 0
    losses: LossConfig = LossConfig()
    optimizer_config: OptimizerConfig = OptimizerConfig()

    @cached_property
    def empty_ids(self) -> np.ndarray:
        """Token ids (t,) of the empty prompt."""
        return tokenize(self.tokenizer, [[""]], self.config.text.max_position_embeddings).ids[0, 0]

    def init(self, rng: jax.Array) -> Params:
        """`start`, or a random text tower and UNet with zero layer-assign embeddings."""
        if self.start is not None:
            return self.start
        return jax.jit(partial(init_params, self.config, networks=("unet", "text_encoder", "layer_assign")))(rng)

    def trainable(self, path: tuple[str, ...]) -> bool:
        """As `learns` says."""
        if self.learns == "everything":
            return True
        return is_trained(path) or (self.learns == "attention" and is_attention(path))

    @property
    def draws_all(self) -> bool:
        """Without a start."""
        return self.start is None

    def without_devices(self) -> DiffusionStage:
        """The same loss, every state kept for the backward pass."""
        return dataclasses.replace(self, remat=False, place=Place(dtype=self.place.dtype))

    @property
    def batch_sharding(self) -> NamedSharding | None:
        """Scenes over the axis "data"; the network divides their layers over the other."""
        return self.place.of_scenes

    def resident(self, frozen: Params) -> Params:
        """The UNet's kernels in the dtype that it computes in: the same numbers as if they were cast at every step."""
        if self.place.dtype == jnp.float32:
            return frozen

        def cast(path: tuple[str, ...], value: Any) -> Any:
            return value.astype(self.place.dtype) if path[0] == "unet" and path[-1] == "kernel" else value

        return unflatten_dict({path: cast(path, value) for path, value in flatten_dict(frozen).items()})

    def loss(self, params: Params, batch: Batch, rng: jax.Array, step: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Eq. 8."""
        del step
        config, losses = self.config, self.losses
        t_key, noise_key, drop_key, given_key = jax.random.split(rng, 4)
        clean = rearrange(batch["latents"].astype(jnp.float32), "b l h w c -> l b h w c")
        b = clean.shape[1]
        given = draw_given(given_key, losses.given, *clean.shape[:2])
        t = jax.random.randint(t_key, (b,), 0, config.schedule.num_train_timesteps)
        alpha = alphas_cumprod(config.schedule)[t]
        noise = jax.random.normal(noise_key, clean[:1].shape if config.layered.same_noise else clean.shape)
        noise = jnp.broadcast_to(noise, clean.shape)

        told = ~jax.random.bernoulli(drop_key, losses.prompt_dropout, (b,))
        ids = jnp.where(told[None, :, None], rearrange(batch["ids"], "b k t -> k b t"), jnp.asarray(self.empty_ids))
        words = jnp.where(told[None], batch["words"].T, 0)
        layers = encode_layers(config, params, ids, words, self.empty_ids)

        z = jnp.where(given[..., None, None, None], clean, jax.vmap(partial(add_noise, alpha))(clean, noise))
        wanted = jax.vmap(partial(target, config.schedule.prediction_type, alpha))(clean, noise)
        seen_t = jnp.where(given, 0, t[None])
        out = predict(config, params["unet"], z, seen_t, layers, self.place, remat=self.remat)
        weight = noise_weight(config.schedule.prediction_type, losses.weighting, alpha)
        parts = {"noise": noise_loss(out.sample, wanted, weight, ~given)}
        total = losses.noise * parts["noise"]
        if out.maps is not None:
            true_alpha = _at_map_size(batch["alpha"], out.maps.in_global.shape)
            parts["context"], parts["layout"] = map_losses(out.maps, true_alpha, layers, told)
            total = total + losses.context * parts["context"] + losses.layout * parts["layout"]
        return total, parts

    def optimizer(self) -> optax.GradientTransformation:
        """As configured."""
        return make_optimizer(self.optimizer_config, self.steps)

    def dataset(self, part: Part = Part()) -> grain.IterDataset:
        """Batches of one layer count each, mixed in proportion to their scenes: the same layer count in all processes."""
        by_count = [self._batches(k, source, part) for k, source in sorted(self.sources.items())]
        weights = [float(len(source)) / self._scenes_per_batch(k) for k, source in sorted(self.sources.items())]
        return grain.IterDataset.mix(by_count, weights)

    def _scenes_per_batch(self, k: int) -> int:
        scenes = self.scenes_per_batch or max(1, self.images_per_batch // (k + 1))
        rows = 1 if self.place.mesh is None else self.place.mesh.shape["data"]
        if scenes < rows:
            raise ValueError(f"a batch of {scenes} scenes of {k} layers cannot be divided over data={rows}: give larger batches")
        return scenes // rows * rows

    def _batches(self, k: int, source: EncodedScenes, part: Part) -> grain.IterDataset:
        length = self.config.text.max_position_embeddings

        def with_tokens(example: dict[str, Any]) -> Batch:
            tokens = tokenize(self.tokenizer, [[prompt] for prompt in example["prompts"]], length, self.config.layered.prompt_windows)
            return {"latents": example["latents"], "alpha": example["alpha"], "ids": tokens.ids[:, 0], "words": tokens.words[:, 0]}

        dataset = grain.MapDataset.source(source).seed(self.seed + k).shuffle().repeat().map(with_tokens)
        return batched(dataset, self._scenes_per_batch(k), part).to_iter_dataset(grain.ReadOptions(num_threads=1))

    def picture_batch(self) -> Batch:
        """Tokens of the fixed prompts."""
        rows = list(zip(*self.picture_prompts, strict=True))
        tokens = tokenize(self.tokenizer, rows, self.config.text.max_position_embeddings, self.config.layered.prompt_windows)
        return {"tokens": tokens}

    def picture(self, params: Params, batch: Batch) -> np.ndarray:
        """One row a scene: background, foregrounds on grey, global; 25 DDIM steps."""
        tokens, steps = batch["tokens"], sampling_steps(self.config.schedule, 25)
        keys = scene_keys(range(self.seed, self.seed + tokens.words.shape[1]))
        made = generate_layers(self.config, params, tokens, self.empty_ids, keys, steps, Guidance(weight=self.config.guidance), keep=0)
        rgb = np.asarray(decode_latents(self.config, self.vae_params, made.latents))
        return (rearrange(rgb, "l b h w c -> (b h) (l w) c") * 255).round().astype(np.uint8)

    def finish(self, params: Params, folder: Path) -> None:
        """Where what DreamLayer trains learned: writes it, alone, to `folder/trained`."""
        if self.learns == "paper":
            shutil.rmtree(folder / "trained", ignore_errors=True)
            save_trained(folder / "trained", self.config, params)


def _at_map_size(alpha: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Foregrounds' alphas (b, f, h, w) as a layer batch (l, b, mh, mw); zero for background and global."""
    _, b, height, width = shape
    resized = mean_over_cells(alpha.astype(jnp.float32), height, width)
    nothing = jnp.zeros((1, b, height, width))
    return jnp.concatenate([nothing, jnp.moveaxis(resized, 1, 0), nothing])
