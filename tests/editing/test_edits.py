"""What a list of edits asks for, and what it may not ask."""

from __future__ import annotations

import numpy as np
import pytest

from dreamlayer_jax.editing.edits import Add, Flip, Move, Order, Remove, Replace, Resize, plan
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.request import RequestError
from dreamlayer_jax.scene import Layer


@pytest.fixture(scope="module")
def image() -> LayeredImage:
    """16x16, a background and three foregrounds, each a 4x4 square."""
    rgba = np.zeros((4, 16, 16, 4), np.uint8)
    rgba[0, ..., 3] = 255
    for i in (1, 2, 3):
        rgba[i, 8:12, 3 * i : 3 * i + 4, 3] = 255
    prompts = ("a beach", "a dog", "a cat", "a duck")
    layers = tuple(Layer(prompt=p, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=rgba[i]) for i, p in enumerate(prompts))
    return LayeredImage(layers=layers, global_rgb=rgba[0, ..., :3], context_maps=np.zeros((3, 2, 2), np.float32), seed=0)


def test_numbers_keep_their_meaning_whatever_comes_before(image) -> None:
    planned = plan(image, [Remove(1), Move(3, dx=0.25), Order((3, 2)), Add("a car")])
    assert [(layer.source, layer.prompt) for layer in planned] == [(0, "a beach"), (3, "a duck"), (2, "a cat"), (None, "a car")]
    assert planned[1].placement.shift_x == 4


def test_resizing_keeps_the_ground_and_flipping_the_place(image) -> None:
    resized, flipped = plan(image, [Resize(1, 1.5), Flip(2)])[1:3]
    assert resized.placement.box(image.layers[1].rgba_straight[..., 3]) == (2, 6, 8, 12)
    assert flipped.placement.box(image.layers[2].rgba_straight[..., 3]) == (6, 8, 10, 12)
    assert flipped.placement.flipped


def test_edits_of_one_layer_follow_each_other(image) -> None:
    layer = plan(image, [Flip(1), Move(1, dx=0.25), Resize(1, 2.0)])[1]
    assert layer.placement.box(image.layers[1].rgba_straight[..., 3]) == (5, 4, 13, 12)


def test_a_layer_made_anew_has_no_source(image) -> None:
    planned = plan(image, [Replace(0, "a forest"), Replace(2, "a house")])
    assert [layer.source for layer in planned] == [None, 1, None, 3]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([], "no edit"),
        ([Move(4, dx=0.1)], "layer 4; the foregrounds are 1, 2, 3"),
        ([Move(0, dx=0.1)], "layer 0"),
        ([Remove(1), Flip(1)], "layer 1; the foregrounds are 2, 3"),
        ([Move(1, dx=float("nan"))], "fractions"),
        ([Move(1, dx=3.0)], "fractions"),
        ([Resize(1, 0.0)], "factor"),
        ([Order((1, 2))], "leaves out 3"),
        ([Order((1, 1, 2))], "each once"),
        ([Order((1, 2, 7))], "each once"),
        ([Replace(9, "a cat")], "layer 9"),
        ([Replace(1, " ")], "needs a prompt"),
        ([Add("")], "needs a prompt"),
        ([Remove(1), Remove(2), Remove(3)], "no foreground would be left"),
        ([Replace(1, "a cat"), Move(1, dx=0.1)], "second one"),
    ],
)
def test_what_cannot_be_done_is_said(image, edits, words) -> None:
    with pytest.raises(RequestError, match=words):
        plan(image, edits)
