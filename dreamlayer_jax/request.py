"""What a sampling run is asked for, checked before any model is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dreamlayer_jax.config import DreamLayerConfig

MAX_SEED = 2**32 - 1


class RequestError(ValueError):
    """Something was asked for that cannot be made. The message says what, and what would do."""


def check_request(*, background: str, foregrounds: Sequence[str], seed: int, steps: int, guidance: float | None) -> None:
    """Raises `RequestError` for what no model could make; a model's own limits (foregrounds, tokens, timesteps) are its own to check."""
    if isinstance(foregrounds, str):
        raise RequestError(f"foregrounds is a list of prompts, far to near; got the single string {foregrounds!r}")
    if not foregrounds:
        raise RequestError("no foreground was given; give at least one, far to near")
    for name, prompt in [("background", background), *((f"foreground {i}", prompt) for i, prompt in enumerate(foregrounds, start=1))]:
        if not prompt.strip():
            raise RequestError(f"the prompt of {name} is empty; say what the layer shows")
    check_sampling(seed=seed, steps=steps, guidance=guidance)


def check_sampling(*, seed: int, steps: int, guidance: float | None) -> None:
    """Raises `RequestError` for a seed, a number of steps or a guidance weight that no model could use."""
    if not 0 <= seed <= MAX_SEED:
        raise RequestError(f"seed is {seed}; give a whole number from 0 to {MAX_SEED}")
    if steps < 1:
        raise RequestError(f"steps is {steps}; give at least 1")
    if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
        raise RequestError(f"guidance is {guidance}; give a number of at least 0 (1 is no guidance)")


def check_size(config: DreamLayerConfig, size: tuple[int, int]) -> None:
    """Raises `RequestError` unless the model can make pictures of `size` (height, width)."""
    if any(side < 1 or side % config.side_multiple for side in size):
        sides = f"{size[0]}x{size[1]} (height x width)"
        raise RequestError(f"the size is {sides}; the model {config.name!r} makes sides that are multiples of {config.side_multiple}")
