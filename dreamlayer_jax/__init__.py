"""DreamLayer in JAX: text to image layers with a layered latent diffusion model (arXiv 2503.12838).

Names load when first used, so that `dreamlayer_jax.compositing` costs nothing to a program that needs only NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dreamlayer_jax.version import __version__

if TYPE_CHECKING:
    from dreamlayer_jax.layered_image import LayeredImage as LayeredImage
    from dreamlayer_jax.pipeline import DreamLayer as DreamLayer
    from dreamlayer_jax.scene import Layer as Layer

__all__ = ["DreamLayer", "Layer", "LayeredImage", "__version__"]

_HOME = {"DreamLayer": "pipeline", "Layer": "scene", "LayeredImage": "layered_image"}


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
