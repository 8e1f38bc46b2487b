"""What gradient checkpointing saves at Stable Diffusion 1.5's size, with the paper's recipe.

    python -m benchmarks.checkpointing --side 512
    python -m benchmarks.checkpointing --side 256 --compiled      minutes

kept       bytes that the backward pass keeps from the forward pass, parameters left out
compiled   temporary memory of the whole gradient by the compiler's buffer assignment for this machine's device

By shapes alone: nothing is computed and no weights are made, so any size can be asked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.layered import is_trained
from dreamlayer_jax.pipeline import DreamLayer
from dreamlayer_jax.place import make_place
from train.configs.paper import PaperTraining
from train.diffusion import DiffusionStage
from train.stage import Batch, Params
from train.state import TrainState, create, merge, split
from train.step import make_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """One gradient with and without gradient checkpointing."""

    side: int = 512
    k: int = 3
    """Layers, background included; the global layer comes on top."""
    scenes: int = 1
    compiled: bool = False


def main(options: Checkpointing) -> None:
    """Prints a table row for each."""
    recipe, config = PaperTraining(base="", data=Path()), sd15()
    trainable, frozen = split(param_shapes(config, ("unet", "text_encoder", "layer_assign")), is_trained)
    latent, b, k, tokens = options.side // config.vae.downscale, options.scenes, options.k, config.text.max_position_embeddings
    batch = {
        "latents": jax.ShapeDtypeStruct((b, k + 1, latent, latent, config.vae.latent_channels), jnp.float32),
        "alpha": jax.ShapeDtypeStruct((b, k - 1, latent, latent), jnp.float32),
        "ids": jax.ShapeDtypeStruct((b, k, tokens), jnp.int32),
        "words": jax.ShapeDtypeStruct((b, k), jnp.int32),
    }
    for remat in (False, True):
        stage = DiffusionStage(
            config=config,
            tokenizer=DreamLayer.from_pretrained("pocket").tokenizer,  # no prompt is read: any will do
            sources={},
            picture_prompts=(),
            vae_params={},
            steps=1,
            learns="paper",
            place=make_place(dtype=recipe.dtype),
            remat=remat,
            losses=recipe.losses,
            optimizer_config=recipe.optimizer,
        )
        state = jax.eval_shape(lambda params, stage=stage: create(params, stage.optimizer(), 0), trainable)
        row = [f"{'with' if remat else 'without'}", f"{options.side}", f"{k} + 1", f"{kept(stage, state, frozen, batch) / 2**30:.2f} GiB"]
        if options.compiled:
            memory = jax.jit(make_gradient(stage)).lower(state, frozen, batch).compile().memory_analysis()
            row.append(f"{memory.temp_size_in_bytes / 2**30:.2f} GiB")
        print(f"| {' | '.join(row)} |", flush=True)


def kept(stage: DiffusionStage, state: TrainState, frozen: Params, batch: Batch) -> int:
    """Bytes of what the gradient's function closes over, without the parameters."""

    def backward(params: Params, frozen: Params, batch: Batch) -> object:
        rng = jax.random.key(0)
        return jax.vjp(lambda params: stage.loss(merge(params, frozen), batch, rng, jnp.int32(0)), params, has_aux=True)[1]

    own = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves((state.params, frozen))}
    found = jax.tree.leaves(jax.eval_shape(backward, state.params, frozen, batch))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in found if (leaf.shape, leaf.dtype) not in own)


if __name__ == "__main__":
    main(tyro.cli(Checkpointing))
