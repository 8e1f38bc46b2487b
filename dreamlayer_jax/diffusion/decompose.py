"""Image to layers (paper Appendix E): k + 1 copies of a picture are inverted, then denoised under the layers' own prompts.

Three ways, from the same parts:

* "inversion": the paper's. Every slot starts from its inverted latent and is denoised; the picture is free to change.
* "replay": as above, but the global slot replays its inversion, so that it ends as the picture and the layers see it at every step.
* "given": the picture is a given layer of an ordinary generation; no inversion, the layers start from noise. The better one for a model
  that was trained with given layers (`LayeredConfig.given_clean`).
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Int, Key

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.denoise import KnownTrajectory, denoise, guidance_contexts, lay
from dreamlayer_jax.diffusion.generate import GeneratedLatents, KnownLatents, generate_layers
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.inversion import invert, see_global_only
from dreamlayer_jax.diffusion.steps import Steps
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.place import Place
from dreamlayer_jax.prompts import TokenBatch

Method = Literal["inversion", "replay", "given"]


def decompose_layers(
    config: DreamLayerConfig,
    params: Params,
    latent: Float[Array, "b h w c"],
    tokens: TokenBatch,
    empty_ids: Int[Array, " t"],
    keys: Key[Array, " b"],
    steps: Steps,
    guidance: Guidance,
    method: Method,
    masked: bool = True,
    *,
    negative_ids: Int[Array, " t"] | None = None,
    place: Place = Place(),
    keep: int | None = None,
) -> GeneratedLatents:
    """A picture to the layer batch of the prompts.

    Args:
        config: the model.
        params: "unet", "text_encoder" and "layer_assign".
        latent: the picture's `latent_scaled`.
        tokens: of k layers, background first, b scenes.
        empty_ids: token ids of the empty prompt.
        keys: the scenes' keys, of the noise that method "given" starts from.
        steps: of the denoising; DDIM's where the picture is inverted, which takes the same steps up.
        guidance: of the denoising; the inversion has none.
        method: see above.
        masked: Eq. 14-16 in the inversion; False lets the slots see each other.
        negative_ids: token ids of what guidance leads away from; the empty prompt's by default.
        place: devices and the dtype of activations.
        keep: the trajectory is kept over so many last steps; all by default.
    """
    k, _ = tokens.words.shape
    copies = jnp.broadcast_to(latent, (k + 1, *latent.shape))
    is_global = (jnp.arange(k + 1) == k).astype(latent.dtype).reshape(-1, 1, 1, 1, 1)
    mask = jnp.broadcast_to(is_global, (*copies.shape[:-1], 1))
    if method == "given":
        size = tuple(side * config.vae.downscale for side in latent.shape[1:3])
        known = KnownLatents(latents=copies, mask=mask)
        options = {"negative_ids": negative_ids, "size": size, "known": known, "place": place, "keep": keep}
        return generate_layers(config, params, tokens, empty_ids, keys, steps, guidance, **options)
    if steps.sampler != "ddim":
        raise ValueError(f"the sampler is {steps.sampler!r}; a picture is inverted by DDIM's steps, and sampled by them")
    layers = guidance_contexts(config, params, tokens, empty_ids, Guidance(weight=1.0), place=place)
    path = invert(config, params["unet"], copies, see_global_only(layers) if masked else layers, steps, place)
    contexts = guidance_contexts(config, params, tokens, empty_ids, guidance, negative_ids, place)
    replayed = KnownTrajectory(trajectory=path, mask=mask) if method == "replay" else None
    out = denoise(config, params["unet"], path.states[0], contexts, steps, guidance, replayed, place=place, keep=keep)
    clean = out.trajectory.clean if replayed is None else lay(copies, out.trajectory.clean, mask)
    return GeneratedLatents(trajectory=out.trajectory.replace(clean=clean), context_maps=out.context_maps)
