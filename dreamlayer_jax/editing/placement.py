"""op(·) of Eq. 13: where a layer goes, and the same move for pixels, alpha, latents' noise and context maps.

A placement maps a point (x, y) of the canvas, in pixels with (0, 0) its upper left corner, to

    x' = scale · x̃ + shift_x,   y' = scale · y + shift_y,   x̃ = width − x if flipped, else x
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.compositing import from_uint8, premultiply, to_uint8, unpremultiply

CUT = 8  # alpha, of 255, from which a pixel on the border means that the border cuts the object


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Flip about the canvas's middle, then scale about its corner, then shift, in pixels."""

    flipped: bool = False
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @property
    def is_identity(self) -> bool:
        return self == IN_PLACE

    def then(self, after: Placement, width: int) -> Placement:
        """This placement, then `after`, on a canvas `width` pixels wide."""
        shift_x = width - self.shift_x if after.flipped else self.shift_x
        if after.flipped:  # width − (s x̃ + shift) = s (width − x̃) + width − shift − s width
            shift_x -= self.scale * width
        return Placement(
            flipped=self.flipped != after.flipped,
            scale=self.scale * after.scale,
            shift_x=after.scale * shift_x + after.shift_x,
            shift_y=after.scale * self.shift_y + after.shift_y,
        )

    def box(self, alpha: UInt8[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of what `alpha` shows, once placed; the whole canvas's if it shows nothing."""
        rows, columns = np.flatnonzero((alpha >= CUT).any(axis=1)), np.flatnonzero((alpha >= CUT).any(axis=0))
        height, width = alpha.shape
        left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, width)
        top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, height)
        if self.flipped:
            left, right = width - right, width - left
        x, y = self.shift_x, self.shift_y
        return self.scale * left + x, self.scale * top + y, self.scale * right + x, self.scale * bottom + y

    def apply(self, picture: Float[Array, "h w c"], size: tuple[int, int] | None = None) -> Float[Array, "h w c"]:
        """The placed picture, linearly resampled, zero where nothing of it lands. `size`: the canvas, if the picture is smaller."""
        height, width = picture.shape[:2]
        rows, columns = size or (height, width)
        picture = picture[:, ::-1] if self.flipped else picture
        scale = np.full(2, self.scale, np.float32)
        shift = np.array([self.shift_y * height / rows, self.shift_x * width / columns], np.float32)
        return _resampled(picture, scale, shift)

    def move(self, rgba_straight: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
        """The placed layer: `apply` of its premultiplied colour."""
        return to_uint8(unpremultiply(np.asarray(self.apply(jnp.asarray(premultiply(from_uint8(rgba_straight)))))))

    def carry(self, noise: Float[np.ndarray, "... h w c"], size: tuple[int, int]) -> Float[np.ndarray, "... h w c"]:
        """Noise that goes with the layer: flipped, and rolled by whole latents, so that it stays white."""
        height, width = noise.shape[-3:-1]
        noise = noise[..., ::-1, :] if self.flipped else noise
        middle = [(self.scale - 1) * side / 2 for side in size]  # a scaled canvas grows about its corner: follow its middle
        rows = round((self.shift_y + middle[0]) * height / size[0])
        columns = round((self.shift_x + middle[1]) * width / size[1])
        return np.roll(noise, (rows, columns), axis=(-3, -2))


IN_PLACE = Placement()


@jax.jit  # one program a shape, where its parts would be compiled one by one: the first move of a session waits for them
def _resampled(picture: Float[Array, "h w c"], scale: Float[Array, "2"], shift: Float[Array, "2"]) -> Float[Array, "h w c"]:
    return jax.image.scale_and_translate(picture, picture.shape, (0, 1), scale, shift, method="linear", antialias=True)


def cut_then_shown(alpha: UInt8[np.ndarray, "h w"], placement: Placement) -> Bool[np.ndarray, "h w"] | None:
    """Where the placed layer must be completed: what now shows beyond a border that cut the object. None if nothing is missing."""
    height, width = alpha.shape
    seen = np.asarray(placement.apply(jnp.ones((height, width, 1)))[..., 0]) > 0.999
    beyond = np.zeros_like(seen)
    borders = {"top": alpha[0], "bottom": alpha[-1], "left": alpha[:, 0], "right": alpha[:, -1]}
    if placement.flipped:
        borders["left"], borders["right"] = borders["right"], borders["left"]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows) or not len(columns):
        return None
    if borders["top"].max() >= CUT:
        beyond[: rows[0]] = True
    if borders["bottom"].max() >= CUT:
        beyond[rows[-1] + 1 :] = True
    if borders["left"].max() >= CUT:
        beyond[:, : columns[0]] = True
    if borders["right"].max() >= CUT:
        beyond[:, columns[-1] + 1 :] = True
    return beyond if beyond.any() else None
