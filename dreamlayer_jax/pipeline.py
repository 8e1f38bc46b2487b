"""`DreamLayer`: a model with its tokenizer, and what it does for a person, on top of the pure functions in `diffusion`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamlayer_jax.compositing import to_uint8
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.decode import decode_layers
from dreamlayer_jax.diffusion.generate import generate_layers
from dreamlayer_jax.diffusion.predict import Params
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.layered_image import Layer, LayeredImage
from dreamlayer_jax.prompts import TokenBatch, tokenize
from dreamlayer_jax.request import RequestError, check_request
from dreamlayer_jax.weights.checkpoint_folder import save_pretrained
from dreamlayer_jax.weights.diffusers_folder import export_diffusers
from dreamlayer_jax.weights.load import load_model
from dreamlayer_jax.weights.trained import save_trained
from dreamlayer_jax.weights.where import find_model

NO_LAYER_DECODER = (
    "the model has no layer decoder, which finds the alpha of every foreground; load it with LayerDiffusion's "
    "layer_sd15_vae_transparent_decoder.safetensors as layer_decoder (on the command line: --layer-decoder FILE)"
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DreamLayer:
    """A loaded model.

    DreamLayer.from_pretrained("pocket").generate(background="a sandy beach", foregrounds=["a red apple", "a dog"]).save("out/beach")
    """

    config: DreamLayerConfig
    params: Params
    """"unet", "vae", "text_encoder", "layer_assign", and "layer_decoder" if there is one."""
    tokenizer: Any
    """A `transformers.CLIPTokenizer`."""

    @classmethod
    def from_pretrained(
        cls,
        where: str | Path = "pocket",
        layer_decoder: str | Path | None = None,
        *,
        tokenizer: str | Path | None = None,
        trained: str | Path | None = None,
        config: DreamLayerConfig | None = None,
    ) -> DreamLayer:
        """Loads a model, float32, tensor by tensor. A Stable Diffusion 1.x model becomes a layered one, ready to train (paper §2).

        Args:
            where: the shipped model, "pocket"; the folder of `save_pretrained`; a diffusers folder (safetensors); a single `.safetensors`
                file in Stable Diffusion's original layout; an Orbax checkpoint of `params` with our config.json; or a hub id "owner/name".
            layer_decoder: LayerDiffusion's `layer_sd15_vae_transparent_decoder.safetensors`. A Stable Diffusion model loads without it, but
                cannot `generate`.
            tokenizer: a folder or hub id, for a model that has none; a single file takes CLIP's from the hub if nothing is given.
            trained: the folder of `save_trained`, laid over the model.
            config: what a single file holds (`sd15()` if nothing is given), or an Orbax checkpoint without config.json.

        Raises:
            WeightsError: something is missing, damaged, or not of this model; the message lists all of it and says the likely cause.
        """
        config, params, text = load_model(
            find_model(where),
            layer_decoder=None if layer_decoder is None else Path(layer_decoder),
            tokenizer=tokenizer,
            trained=None if trained is None else Path(trained),
            config=config,
        )
        return cls(config=config, params=params, tokenizer=text)

    def save_pretrained(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes the whole model as a folder of ours, with checksums; `folder` must not exist yet."""
        save_pretrained(Path(folder), self.config, self.params, self.tokenizer, dtype=dtype)

    def save_trained(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes only what DreamLayer trains (both K/V sets, context-aware layers, layer-assign embeddings), for `trained=`."""
        save_trained(Path(folder), self.config, self.params, dtype)

    def export_diffusers(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes the base, without what DreamLayer added, as a diffusers folder; `folder` must not exist yet."""
        export_diffusers(Path(folder), self.config, self.params, self.tokenizer, dtype)

    def generate(
        self,
        *,
        background: str,
        foregrounds: Sequence[str],
        seed: int = 0,
        steps: int = 50,
        guidance: float | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> LayeredImage:
        """Text to layers (paper §9): DDIM with classifier-free guidance.

        Args:
            background: prompt of the background.
            foregrounds: prompts of the foregrounds, far to near.
            seed: of the starting noise; the same seed gives the same bytes on the same machine.
            steps: DDIM steps.
            guidance: classifier-free guidance weight, 1 is none; the model's own default where not given.
            on_step: called now and then with the number of steps done.

        Raises:
            RequestError: the model cannot make what is asked for.
            PromptError: the prompts have more tokens than the global prompt holds.
        """
        foregrounds = list(foregrounds) if not isinstance(foregrounds, str) else foregrounds
        check_request(background=background, foregrounds=foregrounds, seed=seed, steps=steps, guidance=guidance)
        guidance = self.config.guidance if guidance is None else guidance
        if "layer_decoder" not in self.params:
            raise RequestError(NO_LAYER_DECODER)
        prompts = [background, *foregrounds]
        tokens = self._tokens(prompts, steps)
        generated = generate_layers(
            self.config, self.params, tokens, self._empty_ids(), jax.random.key(seed), steps=steps, guidance=guidance, on_step=on_step
        )
        decoded = decode_layers(self.config, {name: self.params[name] for name in ("vae", "layer_decoder")}, generated.latents)
        rgba = np.asarray(to_uint8(decoded.rgba_straight_01))[:, 0]
        return LayeredImage(
            layers=tuple(
                Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=pixels)
                for i, (prompt, pixels) in enumerate(zip(prompts, rgba, strict=True))
            ),
            global_rgb=np.asarray(to_uint8(decoded.global_rgb_01))[0],
            context_maps=np.asarray(generated.context_maps, np.float32)[1:-1, 0],
            seed=seed,
            settings={"steps": steps, "guidance": guidance},
            model=self.config.name,
        )

    def _tokens(self, prompts: list[str], steps: int) -> TokenBatch:
        """Token ids of one scene, after the checks that depend on the model."""
        most, timesteps = self.config.layered.max_foregrounds, self.config.schedule.num_train_timesteps
        if len(prompts) - 1 > most:
            raise RequestError(f"{len(prompts) - 1} foregrounds were given; the model {self.config.name!r} makes at most {most}")
        if steps > timesteps:
            raise RequestError(f"steps is {steps}; the model {self.config.name!r} has {timesteps} timesteps, so give 1 to {timesteps}")
        return tokenize(self.tokenizer, [[prompt] for prompt in prompts], self.config.text.max_position_embeddings)

    def _empty_ids(self) -> np.ndarray:
        return tokenize(self.tokenizer, [[""]], self.config.text.max_position_embeddings).ids[0, 0]
