"""LoRAs that make a model sample in few steps: which they are, and how such a model then samples.

    LCM-LoRA                                    LCM, 4 steps, guidance 1
    TCD-SD15-LoRA                               TCD, 4 steps, guidance 1
    Hyper-SD15-{2,4,8}steps-lora                DDIM, trailing, that many steps, guidance 1
    Hyper-SD15-1step-lora                       TCD, 1 step, guidance 1
    Hyper-SD15-{8,12}steps-CFG-lora             DDIM, trailing, that many steps, guidance 6

All of them change the same 278 layers, every convolution and dense layer in the UNet's residual blocks, transformers and samplers, and
nothing else; which one a file is, only its name tells. Where name and layers do not agree, nothing is changed, and the doubt is said.
Guidance 1 is none: the published pages call it 0.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from flax.traverse_util import flatten_dict

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.layered import base_shapes
from dreamlayer_jax.weights.formats.lora import LoRA

DISTILLED = ("attentions", "resnets", "downsamplers", "upsamplers")
HUB_STEM = "pytorch_lora_weights"
NAMED_IN = ("modelspec.title", "ss_output_name")
GUIDED = 6.0  # of the 5 to 8 that its page gives for the CFG files


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewSteps:
    """How a model with the LoRA samples."""

    name: str
    sampler: str
    steps: int
    guidance: float = 1.0
    trailing: bool = False

    def of(self, config: DreamLayerConfig) -> DreamLayerConfig:
        """`config` with these defaults."""
        schedule: Any = config.schedule
        if self.trailing:
            schedule = dataclasses.replace(schedule, timestep_spacing="trailing")
        return dataclasses.replace(config, sampler=self.sampler, steps=self.steps, guidance=self.guidance, schedule=schedule)

    def __str__(self) -> str:
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}"
        return f"{self.name}: sampler {self.sampler}, {self.steps} step{'s' if self.steps > 1 else ''}, {guidance}"


def few_steps(lora: LoRA, config: DreamLayerConfig) -> tuple[FewSteps | None, str | None]:
    """How a model with the LoRA samples, where its name and its layers agree on what it is; else None, and a doubt if they do not."""
    whole = {
        path
        for path in flatten_dict(base_shapes(config))
        if path[0] == "unet" and path[-1] == "kernel" and any(part.startswith(DISTILLED) for part in path)
    }
    named, distilled = _named(lora), set(lora.changes) == whole
    if named and distilled:
        return named, None
    doubt = None
    if named:
        doubt = f"is called {named.name}, and changes {len(lora.changes)} layers instead of the {len(whole)} of such a file"
    elif distilled:
        doubt = f"changes the {len(whole)} layers that LCM-LoRA, TCD and Hyper-SD change, and its name does not say which it is"
    return None, doubt and f"{lora.file} {doubt}: sampling stays as it is. Give --sampler, --steps and --guidance as the file's page says"


def _named(lora: LoRA) -> FewSteps | None:
    """By the file's name, or its repository's where the file is called as all are there, and by its title."""
    folders = [parent.name for parent in list(lora.file.absolute().parents)[:3]] if lora.file.stem == HUB_STEM else []
    for name in (lora.file.stem, *(lora.tensors.metadata.get(field, "") for field in NAMED_IN), *folders):
        words = re.split(r"[^a-z0-9]+", name.lower())
        if "hyper" in words or any(word.startswith("hypersd") for word in words):
            counts = [int(found[1]) for word in words if (found := re.fullmatch(r"(\d+)steps?", word))]
            if counts:
                return _hyper(counts[0], guided="cfg" in words)
        if "tcd" in words:
            return FewSteps(name="a TCD LoRA", sampler="tcd", steps=4)
        if "lcm" in words:
            return FewSteps(name="an LCM-LoRA", sampler="lcm", steps=4)
    return None


def _hyper(steps: int, guided: bool) -> FewSteps:
    name = f"a Hyper-SD LoRA of {steps} step{'s' if steps > 1 else ''}"
    if steps == 1:
        return FewSteps(name=name, sampler="tcd", steps=1)
    return FewSteps(name=name, sampler="ddim", steps=steps, guidance=GUIDED if guided else 1.0, trailing=True)
