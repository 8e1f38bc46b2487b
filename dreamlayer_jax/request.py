"""What a sampling run is asked for, checked before any model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dreamlayer_jax.config import MAX_SIDE, DreamLayerConfig, Sampler

if TYPE_CHECKING:
    import numpy as np

MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 1e6
DEFAULT_STEPS: dict[Sampler, int] = {"ddim": 50, "dpm++": 20, "dpm++-karras": 20, "unipc": 20, "lcm": 4, "tcd": 4}
"""How many steps a sampler usually takes."""


class RequestError(ValueError):
    """Something was asked for that cannot be made. The message says what, and what would do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a run is sampled, in a person's words; what is None is the model's own.

    Raises:
        RequestError: a value that no model could use; a model's own limits (timesteps, tokens) are its own to check.
    """

    sampler: Sampler | None = None
    steps: int | None = None
    guidance: float | None = None
    """The classifier-free guidance weight; 1, and 0 too, is none."""
    guidance_interval: tuple[int, int] | None = None
    """The timesteps (from, to), from >= to, outside which there is no guidance."""
    negative: str = ""
    """What guidance leads away from; the empty prompt by default."""

    def __post_init__(self) -> None:
        if self.sampler is not None and self.sampler not in DEFAULT_STEPS:
            raise RequestError(f"the sampler is {self.sampler!r}; known are {', '.join(DEFAULT_STEPS)}")
        if self.steps is not None and self.steps < 1:
            raise RequestError(f"steps is {self.steps}; give at least 1")
        if self.guidance is not None and not 0 <= self.guidance <= MAX_GUIDANCE:
            raise RequestError(f"guidance is {self.guidance}; give a number of at least 0 (1 is no guidance) and at most {MAX_GUIDANCE:g}")
        if self.guidance_interval is not None:
            high, low = self.guidance_interval
            if not high >= low >= 0:
                raise RequestError(f"the guidance interval is {high}, {low}; give timesteps from >= to >= 0, such as 800, 200")

    def of(self, config: DreamLayerConfig) -> Sampling:
        """The same, with the model's own values where none are given; another sampler than the model's brings its usual number of steps."""
        sampler = self.sampler or config.sampler
        usual = config.steps if sampler == config.sampler else DEFAULT_STEPS[sampler]
        return dataclasses.replace(
            self,
            sampler=sampler,
            steps=usual if self.steps is None else self.steps,
            guidance=config.guidance if self.guidance is None else self.guidance,
        )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Sampling:
        """What `settings` of an earlier run say."""
        known = {field.name: settings[field.name] for field in dataclasses.fields(cls) if settings.get(field.name) is not None}
        if "guidance_interval" in known:
            known["guidance_interval"] = tuple(known["guidance_interval"])
        return cls(**known)

    def settings(self) -> dict[str, Any]:
        """As JSON holds it; what is not used is left out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value not in (None, "")}


def check_request(*, background: str, foregrounds: Sequence[str], seed: int) -> None:
    """Raises `RequestError` for what no model could make; a model's own limits (foregrounds, tokens) are its own to check."""
    if isinstance(foregrounds, str):
        raise RequestError(f"foregrounds is a list of prompts, far to near; got the single string {foregrounds!r}")
    if not foregrounds:
        raise RequestError("no foreground was given; give at least one, far to near")
    for name, prompt in [("background", background), *((f"foreground {i}", prompt) for i, prompt in enumerate(foregrounds, start=1))]:
        if not isinstance(prompt, str):
            raise RequestError(f"the prompt of {name} is {prompt!r}; give a text")
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise RequestError(f"the prompt of {name} is {prompt!a}, which holds bytes that are no text in UTF-8") from None
        if not prompt.strip():
            raise RequestError(f"the prompt of {name} is empty; say what the layer shows")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raises `RequestError` for a seed that no noise can be drawn from."""
    if not 0 <= seed <= MAX_SEED:
        raise RequestError(f"seed is {seed}; give a whole number from 0 to {MAX_SEED}")


def check_size(config: DreamLayerConfig, size: tuple[int, int]) -> None:
    """Raises `RequestError` unless the model can make pictures of `size` (height, width)."""
    if any(side > MAX_SIDE for side in size):
        raise RequestError(f"the size is {size[0]}x{size[1]} (height x width); pictures have at most {MAX_SIDE} pixels a side")
    if any(side < 1 or side % config.side_multiple for side in size):
        sides = f"{size[0]}x{size[1]} (height x width)"
        raise RequestError(f"the size is {sides}; the model {config.name!r} makes sides that are multiples of {config.side_multiple}")


def check_given_size(what: object, pixels: np.ndarray, size: tuple[int, int]) -> None:
    """Raises `RequestError` unless a given layer, called `what`, has the scene's `size` (height, width)."""
    height, width = pixels.shape[:2]
    if (height, width) != tuple(size):
        raise RequestError(f"{what} is {width}x{height} pixels (width x height), and the scene is {size[1]}x{size[0]}: resize it to that")
