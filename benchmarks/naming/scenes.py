"""The scenes of the blind sheet: for every object one of two, one of three and one of four layers, out of the held-out scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from einops import rearrange

from data.scenes import compose
from data.source import Example
from data.world import World
from dreamlayer_jax.compositing import from_uint8, over_grey, to_uint8
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.encode import encode_pictures
from dreamlayer_jax.model import Model
from sample.evaluate.scenes import ScenePictures, batches_of_equal_k

LAYER_COUNTS = (2, 3, 4)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An object and the held-out scene in which it is to be named, as its layer `layer`."""

    name: str
    layer: int
    example: Example

    @property
    def scene(self) -> tuple[int, int]:
        """What tells its scene from all others: layer count and seed."""
        return len(self.example["names"]), self.example["seed"]


def choose_subjects(world: World, first_seed: int, layer_counts: Sequence[int] = LAYER_COUNTS) -> list[Subject]:
    """Every object of `world` once for each layer count, in the first scenes from `first_seed` on that have it; no scene twice."""
    subjects = []
    for k in layer_counts:
        wanted, seed = {cutout.name for cutout in world.cutouts}, first_seed
        while wanted:
            scene = compose(world, seed, k=k, split="held_out")
            layer = next((n for n, name in enumerate(scene.names) if n and name in wanted), None)
            if layer is not None:
                subjects.append(Subject(name=scene.names[layer], layer=layer, example=scene.example()))
                wanted.remove(scene.names[layer])
            seed += 1
    return subjects


def through_autoencoder(model: Model, examples: Sequence[Example], batch: int) -> list[ScenePictures]:
    """The true scenes encoded and decoded: no diffusion model, however good, shows more than these."""
    scenes = []
    for group in batches_of_equal_k(examples, batch):
        filled = group + [group[-1]] * (batch - len(group))
        layers = over_grey(from_uint8(np.stack([example["rgba"] for example in filled])))
        whole = from_uint8(np.stack([example["global"] for example in filled]))
        pictures = rearrange(np.concatenate([layers, whole[:, None]], axis=1), "b l h w c -> (l b) h w c")
        latents = encode_pictures(model.config, model.params["vae"], jnp.asarray(pictures))
        decoded = decode_layers(model.config, model.decoders(), rearrange(latents, "(l b) h w c -> l b h w c", b=batch))
        rgba, global_rgb = np.asarray(to_uint8(decoded.rgba_straight_01)), np.asarray(to_uint8(decoded.global_rgb_01))
        for n, example in enumerate(group):
            facts = {name: example[name] for name in ("names", "prompts", "seed")}
            scenes.append(ScenePictures(rgba=rgba[:, n], global_rgb=global_rgb[n], **facts))
    return scenes
