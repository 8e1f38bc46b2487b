"""Options that several commands share, and the failures that they report in one paragraph."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from dreamlayer_jax.request import RequestError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harmonize:
    """Harmonisation (IRH)."""

    t_h: Annotated[int, tyro.conf.arg(name="t-h")] = 600
    """T_H, the timestep from which the layers are denoised again as one picture."""
    t_h_end: Annotated[int, tyro.conf.arg(name="t-h-end")] = 400
    """T'_H, the timestep down to which the foregrounds are laid in; below it shadows and contact form freely."""

    @property
    def window(self) -> tuple[int, int]:
        return self.t_h, self.t_h_end


HARMONIZE = Harmonize()


def outside_failures() -> tuple[type[Exception], ...]:
    """What can go wrong outside this program; anything else is a bug and shows its traceback."""
    from dreamlayer_jax.picture import PictureError
    from dreamlayer_jax.prompts import PromptError
    from dreamlayer_jax.weights.convert import WeightsError

    return RequestError, PromptError, WeightsError, PictureError, OSError
