"""A scene as data: its layers, and the whole picture the model made beside them. What people hold is `LayeredImage`, which stands above."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from dreamlayer_jax.compositing import composite, from_uint8, to_uint8
from dreamlayer_jax.layer_axis import Role

ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer of a scene: what it was asked to be, and its pixels."""

    prompt: str
    role: Role
    rgba_straight: UInt8[np.ndarray, "h w 4"]
    """Full canvas, straight alpha."""
    support: float | None = None
    """Of a foreground that was found in a picture: how much of it the picture bears out, from 0 to 1 (`tasks/seen_in_picture.py`)."""

    def __post_init__(self) -> None:
        if self.role is Role.GLOBAL:
            raise ValueError("a Layer is a background or a foreground; the global picture is Scene.global_rgb")
        _require_uint8(self.rgba_straight, 4, f"the layer of {self.prompt!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KeptLatents:
    """The layer batch's `latent_scaled` from T_H down (paper §3.3): what harmonisation and editing start from, without generating again."""

    t: Int32[np.ndarray, " s"]
    """Timesteps, noisiest first."""
    states: Float32[np.ndarray, "s l h w c"]
    """Latents of [background, foregrounds, global] at each."""
    clean: Float32[np.ndarray, "l h w c"]

    def __post_init__(self) -> None:
        if self.states.shape != (len(self.t), *self.clean.shape):
            raise ValueError(
                f"kept latents are a state for each of {len(self.t)} timesteps, each of {self.clean.shape}; got {self.states.shape}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A scene of k layers (paper §1), far to near, with the global picture I^{k+1} and the foregrounds' context maps M_G (Eq. 5)."""

    layers: tuple[Layer, ...]
    """Background first, then the foregrounds; later is nearer."""
    global_rgb: UInt8[np.ndarray, "h w 3"]
    """The whole picture as the model drew it: unlike `blend`, it holds shadows and contact."""
    context_maps: Float32[np.ndarray, "foregrounds map_h map_w"]
    """Where the global picture attends to each foreground's words, in [0, 1]. Its sides divide the canvas's."""
    seed: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How it was made (steps, guidance, …): anything JSON can hold."""
    model: str = ""
    composite_rgb: UInt8[np.ndarray, "h w 3"] | None = None
    """The layers harmonised (IRH, Eq. 12): shadows and contact appear, the foregrounds stay what they are."""
    kept: KeptLatents | None = None

    def __post_init__(self) -> None:
        expected = [Role.BACKGROUND] + [Role.FOREGROUND] * (len(self.layers) - 1)
        if not self.layers or [layer.role for layer in self.layers] != expected:
            raise ValueError(
                f"layers are a background, then foregrounds far to near; got {[Role(layer.role).name.lower() for layer in self.layers]}"
            )
        if not (self.background.rgba_straight[..., 3] == 255).all():
            raise ValueError("the background must be opaque: every alpha 255")
        _require_uint8(self.global_rgb, 3, "the global picture")
        if self.composite_rgb is not None:
            _require_uint8(self.composite_rgb, 3, "the composite")
        shapes = {layer.rgba_straight.shape[:2] for layer in self.layers} | {self.global_rgb.shape[:2]}
        shapes |= set() if self.composite_rgb is None else {self.composite_rgb.shape[:2]}
        if len(shapes) != 1:
            raise ValueError(f"every layer and the global picture share one canvas; got sizes {sorted(shapes)} (height, width)")
        shape = self.context_maps.shape
        if len(shape) != 3 or shape[0] != len(self.foregrounds) or self.size[0] % shape[1] or self.size[1] % shape[2]:
            raise ValueError(
                f"context maps are one a foreground, (foregrounds, h, w) with sides that divide the canvas {self.size}; got shape {shape}"
            )

    @property
    def background(self) -> Layer:
        return self.layers[0]

    @property
    def foregrounds(self) -> tuple[Layer, ...]:
        return self.layers[1:]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.global_rgb.shape[:2]

    @property
    def blend(self) -> UInt8[np.ndarray, "h w 3"]:
        """Eq. 1 of the layers: what stacking them in an editor shows."""
        blend = np.empty_like(self.global_rgb)
        for top in range(0, len(blend), ROWS_AT_ONCE):  # as floats, all layers of a large canvas are many times its bytes
            rows = np.s_[top : top + ROWS_AT_ONCE]
            blend[rows] = to_uint8(composite(from_uint8(np.stack([layer.rgba_straight[rows] for layer in self.layers]))))
        return blend


def _require_uint8(image: np.ndarray, channels: int, what: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(f"{what} must be uint8 of shape (h, w, {channels}); got {image.dtype} {image.shape}")
