"""`dreamlayer doctor`: what files of weights are, what they make possible, and what that costs; reads headers, no weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import tyro

from dreamlayer_jax.cli.layer_attention import file_and_kind
from dreamlayer_jax.cli.options import MODEL, Model, outside_failures
from dreamlayer_jax.cli.terminal import say, warn

if TYPE_CHECKING:
    from dreamlayer_jax.weights.survey import Survey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Says in seconds what files are, what can be made with them, memory and steps. Loads no weights, downloads nothing."""

    model: tyro.conf.OmitArgPrefixes[Model] = MODEL
    foregrounds: int = 1
    """How many foregrounds the scene of the memory figure has."""

    def run(self) -> None:
        from dreamlayer_jax.memory import free_bytes
        from dreamlayer_jax.weights.survey import GIB

        found = self._survey()
        width = max((len(option) for option, _ in found.files), default=0)
        for option, what in found.files:
            say(f"{option:{width}}  {what}")
        for doubt in found.doubts:
            warn(doubt)
        if found.problems:
            with self.model.explained():
                raise found.problem()
        config = found.config
        say("\nwith them:")
        for line in found.possible():
            say(f"  {line}")
        guidance = "no guidance" if config.guidance in (0, 1) else f"guidance {config.guidance:g}"
        calls = "one call" if config.guidance in (0, 1) else "two calls"
        say(f"steps:   {config.steps} of {config.sampler}, {guidance}: {calls} of the UNet a step and layer, unless options say otherwise")
        parameters, working = found.parameter_bytes() / GIB, found.working_bytes(self.foregrounds) / GIB
        scene = f"{self.foregrounds} foreground{'s' if self.foregrounds > 1 else ''} at {config.sample_size}×{config.sample_size}"
        free = free_bytes()
        there = "" if free is None else f"; {free / GIB:.1f} GiB are free"
        say(f"memory:  {parameters:.1f} GiB of parameters (float32), and about {working:.1f} GiB for a scene of {scene}{there}")

    def _survey(self) -> Survey:
        from dreamlayer_jax.weights.survey import survey
        from dreamlayer_jax.weights.where import find_model

        model = self.model
        return survey(
            find_model(model.weights or "pocket", download=False),
            layer_decoder=model.layer_decoder,
            tokenizer=model.tokenizer,
            trained=model.trained,
            vae=model.vae,
            embeddings=list(model.words().items()),
            loras=list(model.strengths().items()),
            layer_attentions=list(map(file_and_kind, model.layer_attention)),
            prediction=model.predicted(),
        )

    failures = staticmethod(outside_failures)
