"""Image to layers (paper Appendix E): k + 1 copies of a picture are inverted, then denoised under the layers' own prompts.

Three ways, from the same parts:

* "inversion": the paper's. Every slot starts from its inverted latent and is denoised; the picture is free to change.
* "replay": as above, but the global slot replays its inversion, so that it ends as the picture and the layers see it at every step.
* "given": the picture is a given layer of an ordinary generation; no inversion, the layers start from noise. The better one for a model
  that was trained with given layers (`LayeredConfig.given_clean`).

The layers' pixels get back the detail that the autoencoder loses, for it is there in the picture: see `with_detail`.
"""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamlayer_jax.compositing import visibility
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.denoise import Given, Trajectory, ddim_steps, denoise, guidance_contexts, lay
from dreamlayer_jax.diffusion.generate import GeneratedLatents, KnownLatents, generate_layers
from dreamlayer_jax.diffusion.inversion import invert, see_global_only
from dreamlayer_jax.diffusion.predict import encode_layers
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.prompts import TokenBatch

Method = Literal["inversion", "replay", "given"]
METHODS: tuple[str, ...] = get_args(Method)
Pictures = TypeVar("Pictures")


def default_method(config: DreamLayerConfig) -> Method:
    """ "given" for a model that was trained with given layers, else "replay"."""
    return "given" if config.layered.given_clean else "replay"


def decompose_layers(
    config: DreamLayerConfig,
    params: Params,
    latent: Float[Array, "b h w c"],
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    rng: Array,
    steps: int = 50,
    guidance: float = 7.5,
    method: Method | None = None,
    masked: bool = True,
) -> GeneratedLatents:
    """A picture to the layer batch of the prompts.

    Args:
        config: the model.
        params: "unet", "text_encoder" and "layer_assign".
        latent: the picture's `latent_scaled`.
        tokens: of k layers, background first, b scenes.
        empty_ids: token ids of the empty prompt.
        rng: key of the noise that method "given" starts from.
        steps: DDIM steps, of the inversion and again of the denoising.
        guidance: classifier-free guidance weight of the denoising; the inversion has none.
        method: see above; the model's `default_method` if None.
        masked: Eq. 14-16 in the inversion; False lets the slots see each other.
    """
    method = method or default_method(config)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; known are {', '.join(METHODS)}")
    k, _ = tokens.words.shape
    copies = jnp.broadcast_to(latent, (k + 1, *latent.shape))
    is_global = (jnp.arange(k + 1) == k).astype(latent.dtype).reshape(-1, 1, 1, 1, 1)
    mask = jnp.broadcast_to(is_global, (*copies.shape[:-1], 1))
    if method == "given":
        size = tuple(side * config.vae.downscale for side in latent.shape[1:3])
        known = KnownLatents(latents=copies, mask=mask)
        return generate_layers(config, params, tokens, empty_ids, rng, steps, guidance, size, known)
    run = ddim_steps(config, steps)
    needed = {name: params[name] for name in ("text_encoder", "layer_assign")}
    layers = jax.jit(encode_layers, static_argnums=0)(config, needed, tokens.ids, tokens.words, empty_ids)
    path = invert(config, params["unet"], copies, see_global_only(layers) if masked else layers, run)
    contexts = guidance_contexts(config, params, tokens, empty_ids)
    given = Given(trajectory=path, mask=mask) if method == "replay" else None
    out = denoise(config, params["unet"], path.states[0], contexts, run, jnp.float32(guidance), given)
    clean = out.trajectory.clean if given is None else lay(copies, out.trajectory.clean, mask)
    trajectory = Trajectory(states=out.trajectory.states, clean=clean)
    return GeneratedLatents(trajectory=trajectory, context_maps=out.context_maps.mean(axis=0))


def with_detail(rgba_straight_01: Pictures, through_01: Pictures, picture_01: Pictures) -> Pictures:
    """The layers of a picture P with the picture's own detail.

    What the autoencoder loses, P − D(E(P)), is added to each layer in proportion to how much of the layer is seen, so that Eq. 1 of the
    layers has it again. Light and shadow are in D(E(P)) and so stay out.

    Args:
        rgba_straight_01: the layers (k, …, h, w, 4), background first.
        through_01: D(E(P)), (…, h, w, 3).
        picture_01: P, (…, h, w, 3).
    """
    rgb, alpha = rgba_straight_01[..., :3], rgba_straight_01[..., 3:]
    xp = alpha.__array_namespace__()
    return xp.concat([xp.clip(rgb + visibility(alpha) * (picture_01 - through_01), 0, 1), alpha], axis=-1)
