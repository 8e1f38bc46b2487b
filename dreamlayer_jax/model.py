"""`Model`: a configuration, its parameters and its tokenizer. Tasks are functions of it; `DreamLayer` is the face over it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.diffusion.guidance import Guidance
from dreamlayer_jax.diffusion.schedule import alphas_cumprod
from dreamlayer_jax.diffusion.steps import Steps, most_steps, sampling_steps
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.place import Place
from dreamlayer_jax.prompts import TokenBatch, tokenize
from dreamlayer_jax.request import RequestError, Sampling

NO_LAYER_DECODER = (
    "the model has no layer decoder, which finds the alpha of every foreground; load it with LayerDiffusion's "
    "layer_sd15_vae_transparent_decoder.safetensors as layer_decoder (on the command line: --layer-decoder FILE)"
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Model:
    """A loaded model."""

    config: DreamLayerConfig
    params: Params
    """"unet", "vae", "text_encoder", "layer_assign", and "layer_decoder" if there is one."""
    tokenizer: Any
    """A `transformers.CLIPTokenizer`."""
    place: Place = Place()
    """Devices, and the dtype that the networks compute in."""

    def __repr__(self) -> str:
        """One line: parameters written out are millions of characters."""
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        side = self.config.sample_size
        return f"{type(self).__name__}({self.config.name!r}, {count / 1e6:.1f} M parameters, {side}x{side} pixels)"

    def tokens(self, *scenes: Sequence[str]) -> TokenBatch:
        """Token ids of scenes of one layer count, each its prompts, background first.

        Raises:
            RequestError: more foregrounds than the model makes.
            PromptError: prompts that are too long for it.
        """
        most = self.config.layered.max_foregrounds
        untrained = self.config.layered.layer_attention is not None  # its global layer reads sentences
        if len(scenes[0]) - 1 > most:
            hint = "" if untrained else "; to try more, say --max-foregrounds, in Python model.with_foregrounds"
            raise RequestError(f"{len(scenes[0]) - 1} foregrounds were given; the model {self.config.name!r} makes at most {most}{hint}")
        rows = list(zip(*scenes, strict=True))
        length, windows = self.config.text.max_position_embeddings, self.config.layered.prompt_windows
        return tokenize(self.tokenizer, rows, length, windows, as_sentence=untrained)

    def steps(self, sampling: Sampling) -> Steps:
        """The whole run of a request. Raises `RequestError` for more steps than the sampler can take."""
        sampling = sampling.of(self.config)
        most = most_steps(self.config.schedule, sampling.sampler)
        if sampling.steps > most:
            raise RequestError(f"steps is {sampling.steps}; the sampler {sampling.sampler} takes 1 to {most} with this model")
        return sampling_steps(self.config.schedule, sampling.steps, sampling.sampler)

    def guidance(self, sampling: Sampling) -> Guidance:
        """How much guidance a request asks for, and where."""
        return Guidance(weight=sampling.of(self.config).guidance, interval=sampling.guidance_interval)

    def negative_ids(self, sampling: Sampling) -> Int[np.ndarray, " t"] | None:
        """Token ids of the negative prompt; None where there is none. Raises `PromptError` for one that is too long."""
        if not sampling.negative.strip():
            return None
        return tokenize(self.tokenizer, [[sampling.negative]], self.config.text.max_position_embeddings).ids[0, 0]

    @cached_property
    def empty_ids(self) -> np.ndarray:
        """Token ids (t,) of the empty prompt."""
        return tokenize(self.tokenizer, [[""]], self.config.text.max_position_embeddings).ids[0, 0]

    @cached_property
    def alphas_cumprod(self) -> np.ndarray:
        """ᾱ_t for t = 0 … T − 1."""
        return np.asarray(alphas_cumprod(self.config.schedule))

    def decoders(self) -> Params:
        """The parameters that turn latents into pictures. Raises `RequestError` if the model was loaded without a layer decoder."""
        if "layer_decoder" not in self.params:
            raise RequestError(NO_LAYER_DECODER)
        return {name: self.params[name] for name in ("vae", "layer_decoder")}
