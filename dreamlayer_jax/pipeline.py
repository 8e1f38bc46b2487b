"""`DreamLayer`: a model with its tokenizer, and what it does for a person, on top of the pure functions in `diffusion`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
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
from dreamlayer_jax.weights.checkpoint_folder import load_pretrained
from dreamlayer_jax.weights.shipped import model_folder


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DreamLayer:
    """A loaded model.

    DreamLayer.from_pretrained("pocket").generate(background="a sandy beach", foregrounds=["a red apple", "a dog"]).save("out/beach")
    """

    config: DreamLayerConfig
    params: Params
    """"unet", "vae", "text_encoder", "layer_decoder", "layer_assign"."""
    tokenizer: Any
    """A `transformers.CLIPTokenizer`."""

    @classmethod
    def from_pretrained(cls, model: str | Path = "pocket") -> DreamLayer:
        """Loads the shipped model, "pocket", or the model in a folder. Raises `WeightsError` if it is missing or damaged."""
        config, params, tokenizer = load_pretrained(model_folder(model))
        return cls(config=config, params=jax.device_put(params), tokenizer=tokenizer)

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
