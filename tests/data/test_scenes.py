"""What holds for every scene: layers complete and clean, a global picture that differs by the light alone, honest occlusion."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from data.layout import arrange
from data.scenes import compose
from data.source import SceneSource
from data.world import World, shapes_world
from dreamlayer_jax.compositing import composite, from_uint8

WORLD = shapes_world()
SEEDS = range(12)
GOLDEN = {  # left, foot, height of each, far to near
    1: [(0.2326852, 0.8889542, 0.5362329)],
    2: [(0.516732, 0.8189253, 0.4317418), (0.1665666, 0.9156122, 0.4763726)],
    3: [(0.0408345, 0.8026037, 0.3989092), (0.3212055, 0.8891669, 0.4689323), (0.453623, 0.9507654, 0.4609096)],
}


def scenes(k):
    return [compose(WORLD, seed, size=48, k=k) for seed in SEEDS]


def stacked(scene):
    return composite(from_uint8(scene.rgba))


def visible(scene):
    """(k, h, w): how much of each layer is seen."""
    alpha = from_uint8(scene.rgba[..., 3])
    return np.stack([alpha[n] * np.prod(1 - alpha[n + 1 :], axis=0) for n in range(len(alpha))])


@pytest.mark.parametrize("k", [2, 3, 4])
def test_composite_of_the_layers_is_the_global_picture_where_no_shadow_falls(k):
    for scene in scenes(k):
        difference = np.abs(stacked(scene) - from_uint8(scene.global_rgb))
        assert difference[scene.shadow == 0].max() <= 1 / 255
        assert difference.max() > 0.05, "a scene without any shadow"


@pytest.mark.parametrize("k", [2, 4])
def test_light_is_only_taken_away(k):
    for scene in scenes(k):
        assert (from_uint8(scene.global_rgb) <= stacked(scene) + 1 / 255).all()
        assert 0.02 < (scene.shadow > 0.02).mean() < 0.4


def test_shadow_is_the_share_of_light_taken_from_the_ground():
    for scene in scenes(2):
        ground = scene.rgba[1, ..., 3] == 0
        expected = from_uint8(scene.rgba[0, ..., :3]) * (1 - scene.shadow[..., None])
        assert np.abs(expected - from_uint8(scene.global_rgb))[ground].max() <= 1 / 255


def test_shadows_fall_on_objects_behind_and_never_on_the_nearest():
    on_objects_behind = 0.0
    for scene in scenes(4):
        seen = visible(scene)
        assert scene.shadow[scene.rgba[-1, ..., 3] == 255].max() == 0
        on_objects_behind += (scene.shadow * seen[1:-1].sum(0) * (seen[0] == 0)).sum()
    assert on_objects_behind > 1


@pytest.mark.parametrize("k", [2, 3, 4])
def test_layers_are_whole_ordered_and_boxed(k):
    for scene in scenes(k):
        assert scene.rgba.shape == (k, 48, 48, 4)
        assert (scene.rgba[0, ..., 3] == 255).all()
        assert len(scene.prompts) == len(scene.names) == k
        assert len(set(scene.names)) == k
        assert all(name in prompt for name, prompt in zip(scene.names, scene.prompts, strict=True))
        assert (np.diff(scene.boxes[1:, 2]) > 0).all(), "a nearer object must stand lower"
        for layer, (y0, x0, y1, x1) in zip(scene.rgba, scene.boxes, strict=True):
            solid = layer[..., 3] > 127
            assert solid[y0:y1, x0:x1].sum() == solid.sum()
            rims = (solid[y0], solid[y1 - 1], solid[:, x0], solid[:, x1 - 1])
            assert all(rim.any() for rim in rims)


@pytest.mark.parametrize("k", [3, 4])
def test_every_object_is_mostly_in_sight(k):
    for scene in scenes(k):
        share = visible(scene).sum((1, 2)) / from_uint8(scene.rgba[..., 3]).sum((1, 2))
        assert share[1:].min() >= 0.55


@pytest.mark.parametrize("k", [5, 7, 9])
def test_many_objects_are_smaller_and_as_much_in_sight(k):
    for seed in range(8):
        scene = compose(WORLD, seed, size=96, k=k)
        alpha = from_uint8(scene.rgba[..., 3])
        assert len(set(scene.names)) == k
        assert (visible(scene).sum((1, 2)) / alpha.sum((1, 2)))[1:].min() >= 0.55
        assert alpha[1:].max((1, 2)).min() == 1
        assert scene.boxes[1:, 2].min() > 0.5 * 96, "an object above the ground"
        assert (np.diff(scene.boxes[1:, 2]) >= 0).all()


def test_where_up_to_three_objects_stand_is_as_it_ever_was():
    """Data sets are known by their seeds: figures of the first release that had them."""
    for count, expected in GOLDEN.items():
        placed = arrange(np.random.default_rng([7, count]), WORLD.cutouts[:count])
        np.testing.assert_allclose([(one.left, one.foot, one.height) for one in placed], expected, atol=1e-6)


def test_a_world_of_few_objects_says_so():
    few = World(cutouts=WORLD.cutouts[:5], places=WORLD.places)
    with pytest.raises(ValueError, match="this world has 5: add cut-outs"):
        compose(few, 0, size=32, k=7)


def test_a_move_takes_the_object_and_its_shadow_along_and_nothing_else():
    still = compose(shapes_world(), 3, k=2)
    moved = compose(shapes_world(), 3, k=2, moves=(0.125,))
    np.testing.assert_array_equal(moved.rgba[0], still.rgba[0])
    assert moved.prompts == still.prompts
    np.testing.assert_array_equal(moved.rgba[1, :, 8:], still.rgba[1, :, :-8])
    np.testing.assert_allclose(moved.shadow[:, 16:-16], still.shadow[:, 8:-24], atol=1e-5)


def test_a_seed_is_one_scene_and_splits_share_none():
    first, again, held_out = (compose(WORLD, 5, size=32, k=3, split=split) for split in ("train", "train", "held_out"))
    for key, value in first.example().items():
        np.testing.assert_array_equal(value, again.example()[key])
    assert (first.global_rgb != held_out.global_rgb).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_size_is_the_same_scene(seed):
    small, large = compose(WORLD, seed, size=40, k=3), compose(WORLD, seed, size=160, k=3)
    assert small.prompts == large.prompts
    np.testing.assert_allclose(small.boxes * 4, large.boxes, atol=6)
    reduced = large.global_rgb.reshape(40, 4, 40, 4, 3).mean((1, 3))
    assert np.abs(reduced - small.global_rgb).mean() < 6


def test_training_never_sees_a_held_out_pair_and_held_out_scenes_have_one():
    def pairs(names):
        return {tuple(sorted((a, b))) for a in names[1:] for b in names[1:] if a < b}

    for seed in range(25):
        assert not pairs(compose(WORLD, seed, size=16, k=4).names) & WORLD.held_out_pairs
        unseen = compose(WORLD, seed, size=16, k=3, split="held_out", pairs="held_out")
        assert pairs(unseen.names) & WORLD.held_out_pairs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 1}, "k = 1"),
        ({"k": 10}, "from 2 to 9"),
        ({"size": 8}, "size = 8"),
        ({"seed": -1}, "seed = -1"),
        ({"split": "test"}, "'test'"),
        ({"pairs": "held_out"}, "split='held_out'"),
        ({"pairs": "held_out", "split": "held_out", "k": 2}, "k of at least 3"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        compose(WORLD, **{"seed": 0, **arguments})


def test_a_source_gives_every_layer_count_and_travels_to_workers():
    source = SceneSource(WORLD, range(100, 106), size=32)
    assert [len(source[n]["prompts"]) for n in range(6)] == [3, 4, 2, 3, 4, 2]
    assert len(SceneSource(WORLD, range(3), size=32, k=4)[0]["prompts"]) == 4
    travelled = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(travelled[2]["rgba"], source[2]["rgba"])
