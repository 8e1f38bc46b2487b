"""What a sampling run is asked for, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dreamlayer_jax.config import MAX_SIDE

if TYPE_CHECKING:
    import numpy as np

    from dreamlayer_jax.config import DreamLayerConfig

MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 1e6


class RequestError(ValueError):
    """Something was asked for that cannot be made. The message says what, and what would do."""


def check_request(*, background: str, foregrounds: Sequence[str], seed: int, steps: int, guidance: float | None) -> None:
    """Raises `RequestError` for what no model could make; a model's own limits (foregrounds, tokens, timesteps) are its own to check."""
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
    check_sampling(seed=seed, steps=steps, guidance=guidance)


def check_sampling(*, seed: int, steps: int, guidance: float | None) -> None:
    """Raises `RequestError` for a seed, a number of steps or a guidance weight that no model could use."""
    if not 0 <= seed <= MAX_SEED:
        raise RequestError(f"seed is {seed}; give a whole number from 0 to {MAX_SEED}")
    if steps < 1:
        raise RequestError(f"steps is {steps}; give at least 1")
    if guidance is not None and not 0 <= guidance <= MAX_GUIDANCE:
        raise RequestError(f"guidance is {guidance}; give a number of at least 0 (1 is no guidance) and at most {MAX_GUIDANCE:g}")


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
