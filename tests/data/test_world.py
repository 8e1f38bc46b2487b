"""What scenes are made of: cut-outs, places, captions, and the pairs held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.backgrounds import PLACES
from data.captions import all_captions, all_words, article, wordings
from data.light import draw_light
from data.scenes import compose
from data.world import World, emoji_world, folder_world, shapes_world


@pytest.fixture(scope="module")
def emoji() -> World:
    return emoji_world()


def test_emoji_world_has_48_different_objects_cropped_to_their_alpha(emoji):
    assert len(emoji.cutouts) == 48
    for cutout in emoji.cutouts:
        solid = cutout.rgba[..., 3] > 8
        assert all(rim.any() for rim in (solid[0], solid[-1], solid[:, 0], solid[:, -1])), cutout.name
        assert max(cutout.rgba.shape[:2]) >= 90, f"{cutout.name} is no full-size glyph"
    thumbnails = [np.asarray(cutout.at(12, 12, False), np.float32)[..., :3] for cutout in emoji.cutouts]
    distances = [np.abs(a - b).mean() for n, a in enumerate(thumbnails) for b in thumbnails[:n]]
    assert min(distances) > 8, "two objects look alike"


def test_emoji_scenes_compose(emoji):
    scene = compose(emoji, 3, size=64, k=4)
    assert scene.rgba.shape == (4, 64, 64, 4)
    assert set(scene.names[1:]) <= {cutout.name for cutout in emoji.cutouts}


def test_about_a_tenth_of_the_pairs_is_held_out(emoji):
    assert len(emoji.held_out_pairs) / (48 * 47 / 2) == pytest.approx(0.1, abs=0.03)
    assert emoji.held_out_pairs == emoji_world().held_out_pairs


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_place_is_one_picture_at_any_size(place):
    def painted(size, seed=0):
        rng = np.random.default_rng(seed)
        return place.paint(size, draw_light(rng, place.light), rng).astype(float)

    large = painted(192)
    assert np.abs(large.reshape(48, 4, 48, 4, 3).mean((1, 3)) - painted(48)).mean() < 4
    assert np.abs(painted(48) - painted(48, seed=1)).mean() > 1, "a place varies by seed"
    coarse = large.reshape(24, 8, 24, 8, 3).mean((1, 3)).repeat(8, 0).repeat(8, 1)
    assert np.abs(large - coarse).mean() < 12, "too much fine detail"


def test_places_differ():
    rng = np.random.default_rng(0)
    painted = [place.paint(24, draw_light(rng, place.light), rng).astype(float) for place in PLACES]
    assert min(np.abs(a - b).mean() for n, a in enumerate(painted) for b in painted[:n]) > 10


def test_prompts_are_short_and_listed(emoji):
    captions, words = all_captions(emoji), set(all_words(emoji))
    assert max(len(text.split()) for text in captions) <= 7
    assert len(set(captions)) == len(captions)
    assert {"dog", "apple", "beach", "an", "photo"} <= words
    for seed in range(5):
        prompts = compose(emoji, seed, size=16, k=3).prompts
        assert set(prompts) <= set(captions)
        assert {word for prompt in prompts for word in prompt.split()} <= words


def test_wordings():
    assert article("owl") == "an"
    assert wordings("red apple")[0] == "a red apple"
    assert "one red apple" in wordings("red apple")
    assert "one sandy beach" not in wordings("sandy beach", place=True)


def cutout_file(path: Path, color: tuple[int, int, int]) -> None:
    picture = Image.new("RGBA", (40, 30))
    picture.paste((*color, 255), (8, 5, 30, 25))
    picture.save(path)


@pytest.fixture
def objects(tmp_path) -> Path:
    folder = tmp_path / "objects"
    folder.mkdir()
    for name, color in (("A_red-apple", (250, 0, 0)), ("leaf", (0, 200, 0)), ("sky_ball", (0, 0, 250)), ("sun", (250, 250, 0))):
        cutout_file(folder / f"{name}.png", color)
    return folder


def test_a_folder_of_pictures_is_a_world(objects, tmp_path):
    backgrounds = tmp_path / "backgrounds"
    backgrounds.mkdir()
    Image.new("RGB", (90, 60), (10, 120, 200)).save(backgrounds / "my_garden.jpg", quality=95)
    world = folder_world(objects, backgrounds)
    assert [cutout.name for cutout in world.cutouts] == ["red apple", "leaf", "sky ball", "sun"]
    assert world.cutouts[0].rgba.shape == (20, 22, 4)
    scene = compose(world, 0, size=32, k=2)
    assert scene.names[0] == "my garden"
    np.testing.assert_allclose(scene.rgba[0, ..., :3].mean((0, 1)), (10, 120, 200), atol=4)


def test_bad_folders_are_named(objects, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        folder_world(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        folder_world(objects, tmp_path / "empty")
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(objects / "square.png")
    with pytest.raises(ValueError, match=r"square\.png has no transparency"):
        folder_world(objects)
    Image.new("RGBA", (8, 8)).save(objects / "square.png")
    with pytest.raises(ValueError, match="'square' is empty"):
        folder_world(objects)
    (objects / "square.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"square\.png is no picture"):
        folder_world(objects)


def test_a_world_needs_enough_and_distinct_names():
    shapes = shapes_world()
    with pytest.raises(ValueError, match="at least 4 cut-outs"):
        World(cutouts=shapes.cutouts[:3], places=shapes.places)
    with pytest.raises(ValueError, match="red circle"):
        World(cutouts=(*shapes.cutouts, shapes.cutouts[0]), places=shapes.places)
