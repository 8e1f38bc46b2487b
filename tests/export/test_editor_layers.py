"""The stack: nothing visible is lost by cutting, and the shadow layers turn the blend into the composite, by their definitions."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest

from dreamlayer_jax import Layer, LayeredImage
from dreamlayer_jax.compositing import from_uint8
from dreamlayer_jax.export.editor_layers import EditorLayer, Mode, editor_layers, layer_name, merged
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.request import RequestError

PICTURES = arrays.arrays(np.uint8, (5, 7, 3))


def on_canvas(layer: EditorLayer, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros((*size, 4), np.uint8)
    height, width = layer.rgba_straight.shape[:2]
    canvas[layer.top : layer.top + height, layer.left : layer.left + width] = layer.rgba_straight
    return canvas


def stacked(layers: tuple[EditorLayer, ...], size: tuple[int, int]) -> np.ndarray:
    """W3C Compositing and Blending Level 1, §5 and §10.1, on an opaque backdrop: (1 - a) b + a B(b, s)."""
    shown = np.zeros((*size, 3))
    for layer in layers:
        rgba = from_uint8(on_canvas(layer, size)).astype(float)
        s, a = rgba[..., :3], rgba[..., 3:]
        met = {Mode.NORMAL: s, Mode.MULTIPLY: shown * s, Mode.SCREEN: shown + s - shown * s}[layer.mode]
        shown = (1 - a) * shown + a * met
    return shown * 255


def plain(background: np.ndarray, composite: np.ndarray | None) -> LayeredImage:
    opaque = np.concatenate([background, np.full((*background.shape[:2], 1), 255, np.uint8)], axis=-1)
    return LayeredImage(
        layers=(Layer(prompt="a beach", role=Role.BACKGROUND, rgba_straight=opaque),),
        global_rgb=background,
        context_maps=np.zeros((0, 1, 1), np.float32),
        seed=0,
        composite_rgb=composite,
    )


@hypothesis.given(background=PICTURES, composite=PICTURES)
def test_multiply_and_screen_turn_any_blend_into_any_composite(background: np.ndarray, composite: np.ndarray) -> None:
    layers = editor_layers(plain(background, composite), shadow=True)
    assert [layer.mode for layer in layers] == [Mode.NORMAL, Mode.MULTIPLY, Mode.SCREEN]
    assert np.abs(stacked(layers, (5, 7)) - composite).max() <= 0.501


def test_the_stack_shows_the_blend_and_with_shadow_the_composite(scene: LayeredImage) -> None:
    assert np.abs(stacked(editor_layers(scene), scene.size) - scene.blend).max() <= 0.501
    assert np.abs(stacked(editor_layers(scene, shadow=True), scene.size) - scene.composite_rgb).max() <= 1.01


def test_the_shadow_is_where_the_composite_differs_and_nowhere_else(scene: LayeredImage) -> None:
    shadow, light = editor_layers(scene, shadow=True)[-2:]
    assert (shadow.left, shadow.top, *shadow.rgba_straight.shape[:2]) == (20, 50, 20, 50)
    assert (light.left, light.top, *light.rgba_straight.shape[:2]) == (30, 5, 20, 60)


def test_cutting_loses_nothing_visible(scene: LayeredImage) -> None:
    for layer, cut in zip(scene.layers, editor_layers(scene), strict=True):
        canvas, visible = on_canvas(cut, scene.size), layer.rgba_straight[..., 3] > 0
        np.testing.assert_array_equal(canvas[visible], layer.rgba_straight[visible])
        assert not canvas[~visible][..., 3].any()
    first = editor_layers(scene)[1].rgba_straight[..., 3]
    assert first.any(axis=0).all()
    assert first.any(axis=1).all()


def test_a_layer_that_shows_nothing_is_kept_as_one_clear_pixel(scene: LayeredImage) -> None:
    clear = dataclasses.replace(scene.layers[1], rgba_straight=np.zeros_like(scene.layers[1].rgba_straight))
    cut = editor_layers(dataclasses.replace(scene, layers=(scene.layers[0], clear, *scene.layers[2:])))
    assert len(cut) == 4
    np.testing.assert_array_equal(cut[1].rgba_straight, np.zeros((1, 1, 4), np.uint8))


def test_merged_is_what_the_stack_shows(scene: LayeredImage) -> None:
    np.testing.assert_array_equal(merged(scene, shadow=True), scene.composite_rgb)
    np.testing.assert_array_equal(merged(scene), scene.blend)


def test_no_shadow_without_a_composite(scene: LayeredImage) -> None:
    with pytest.raises(RequestError, match="no harmonised composite"):
        editor_layers(dataclasses.replace(scene, composite_rgb=None), shadow=True)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("a  red\napple ", "a red apple"), ("一只狗", "一只狗"), ("bell\x07 and \ud800", "bell and"), ("x" * 500, "x" * 119 + "…")],
)
def test_names_are_one_printable_line(prompt: str, name: str) -> None:
    assert layer_name(prompt) == name
