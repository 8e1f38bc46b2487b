"""DDIM over the layer batch with classifier-free guidance (paper §9): the one jitted scan of generation, completion and decomposition.

Any part of the layer batch may be *given*: its latent is known, so before every step it is put where its own trajectory is then, and only
the rest is denoised. The rest sees it through layer-shared attention. A model trained with given layers (`LayeredConfig.given_clean`) sees
those that are given whole as they are, clean and at t = 0, at every step.
"""

from __future__ import annotations

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.ddim import ddim_step
from dreamlayer_jax.diffusion.guidance import guided
from dreamlayer_jax.diffusion.predict import encode_layers, predict
from dreamlayer_jax.diffusion.schedule import add_noise, alphas_cumprod, final_alpha_cumprod, timesteps
from dreamlayer_jax.layer_axis import LayerContext
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.models.unet import UNetOutput
from dreamlayer_jax.prompts import TokenBatch, doubled


@flax.struct.dataclass
class Steps:
    """A run of DDIM steps, or a part of it, noisiest first."""

    t: Int[Array, " s"]
    alpha_t: Float[Array, " s"]
    alpha_next: Float[Array, " s"]

    def __getitem__(self, part: slice) -> Steps:
        return jax.tree.map(lambda x: x[part], self)

    def below(self, t: int) -> Steps:
        """The steps from timestep `t` down."""
        return self[int((np.asarray(self.t) > t).sum()) :]


@flax.struct.dataclass
class Trajectory:
    """Where a layer batch is before each of `s` steps, and after the last."""

    states: Float[Array, "s l b h w c"]
    clean: Float[Array, "l b h w c"]

    def last(self, steps: int) -> Trajectory:
        """The trajectory over the last `steps` steps; all of it if there are no more."""
        return self.replace(states=self.states[max(0, len(self.states) - steps) :])


@flax.struct.dataclass
class Given:
    """Which part of the layer batch is known (`mask` 1), and its trajectory."""

    trajectory: Trajectory
    mask: Float[Array, "l b h w 1"]


@flax.struct.dataclass
class Denoised:
    """The trajectory, and each step's context maps M_G^{f,N} (zero without CACA)."""

    trajectory: Trajectory
    context_maps: Float[Array, "s l b mh mw"]


def ddim_steps(config: DreamLayerConfig, steps: int) -> Steps:
    """Timesteps with their ᾱ before and after each step."""
    t = timesteps(config.schedule, steps)
    alpha = np.asarray(alphas_cumprod(config.schedule))
    previous = t - config.schedule.num_train_timesteps // steps
    alpha_next = np.where(previous >= 0, alpha[np.maximum(previous, 0)], final_alpha_cumprod(config.schedule))
    return Steps(t=t, alpha_t=alpha[t], alpha_next=alpha_next.astype(np.float32))


def noised(clean: Float[Array, "l b h w c"], noise: Float[Array, "l b h w c"], run: Steps) -> Trajectory:
    """The straight trajectory of a known latent: √ᾱ_t z_0 + √(1 − ᾱ_t) ε, one ε for all t."""
    return Trajectory(states=jax.vmap(lambda alpha: add_noise(alpha, clean, noise))(jnp.asarray(run.alpha_t)), clean=clean)


@partial(jax.jit, static_argnames=("config",))
def _contexts(config: DreamLayerConfig, params: Params, ids: Array, words: Array, empty_ids: Array) -> LayerContext:
    empty = jnp.broadcast_to(empty_ids, ids.shape)
    return doubled(
        encode_layers(config, params, empty, jnp.zeros_like(words), empty_ids), encode_layers(config, params, ids, words, empty_ids)
    )


def guidance_contexts(config: DreamLayerConfig, params: Params, tokens: TokenBatch, empty_ids: Int[Array, " t"]) -> LayerContext:
    """Contexts of [without prompts, with prompts] along `b`; `params` needs "text_encoder" and "layer_assign"."""
    needed = {name: params[name] for name in ("text_encoder", "layer_assign")}
    return _contexts(config, needed, tokens.ids, tokens.words, empty_ids)


@partial(jax.jit, static_argnames=("config",))  # traced once for all passes over a scene
def guided_prediction(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    t: Int[Array, "l b"],
    contexts: LayerContext,
    guidance: Array,
) -> tuple[Float[Array, "l b h w c"], UNetOutput]:
    """The prediction with guidance, and the network's own output on [without prompts, with prompts]."""
    out = predict(config, unet_params, jnp.concatenate([z, z], axis=1), jnp.concatenate([t, t], axis=1), contexts)
    return guided(out.sample, guidance, axis=1), out


@partial(jax.jit, static_argnames=("config",))
def denoise(
    config: DreamLayerConfig,
    unet_params: Params,
    z: Float[Array, "l b h w c"],
    contexts: LayerContext,
    run: Steps,
    guidance: Float[Array, ""],
    given: Given | None = None,
) -> Denoised:
    """Runs the given DDIM steps; `contexts` are doubled for guidance. `given.trajectory` has a state for each of these steps.

    What is given is put in place before each step, not after the last: the caller lays `given.trajectory.clean` over a finished run.
    """

    def step(z: Array, now: tuple[Steps, Array | None]) -> tuple[Array, tuple[Array, Array]]:
        at, known = now
        z = z if given is None else lay(known, z, given.mask)
        seen, t = as_seen(config, z, at.t, given)
        prediction, out = guided_prediction(config, unet_params, seen, t, contexts, guidance)
        maps = out.maps.in_global[:, z.shape[1] :] if out.maps is not None else jnp.zeros((*z.shape[:2], 1, 1))
        return ddim_step(config.schedule.prediction_type, z, prediction, at.alpha_t, at.alpha_next), (z, maps)

    states = None if given is None else given.trajectory.states
    clean, (states, maps) = jax.lax.scan(step, z, (run, states))
    return Denoised(trajectory=Trajectory(states=states, clean=clean), context_maps=maps)


def as_seen(
    config: DreamLayerConfig, z: Float[Array, "l b h w c"], t: Int[Array, ""], given: Given | None
) -> tuple[Float[Array, "l b h w c"], Int[Array, "l b"]]:
    """What the network is shown, and at which timesteps, where `z` and `t` are the run's."""
    t = jnp.broadcast_to(t, z.shape[:2])
    if given is None:
        return z, t
    whole = (given.mask.min((2, 3, 4)) == 1) & config.layered.given_clean
    return jnp.where(whole[..., None, None, None], given.trajectory.clean, z), jnp.where(whole, 0, t)


def lay(known: Float[Array, "*n"], z: Float[Array, "*n"], mask: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """`known` where `mask` is 1, `z` where it is 0."""
    return known * mask + z * (1 - mask)
