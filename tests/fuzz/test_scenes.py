"""Scene folders with one thing wrong, as far as loading, planning an edit and exporting."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamlayer_jax import LayeredImage
from dreamlayer_jax.editing.edits import Flip, plan
from dreamlayer_jax.export.editor_file import write_editor_file
from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.request import RequestError, Sampling, check_request
from dreamlayer_jax.scene import KeptLatents, Layer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (3, 8, 12, 4), dtype=np.uint8)
    rgba[0, ..., 3] = 255
    states = rng.standard_normal((2, 4, 2, 3, 4), np.float32)
    image = LayeredImage(
        layers=tuple(
            Layer(prompt=prompt, role=Role.FOREGROUND if i else Role.BACKGROUND, rgba_straight=rgba[i])
            for i, prompt in enumerate(("a beach", "a dog", "一只狗"))
        ),
        global_rgb=rgba[0, ..., :3],
        composite_rgb=rgba[1, ..., :3],
        context_maps=np.zeros((2, 2, 3), np.float32),
        seed=0,
        settings={"steps": 4, "guidance": 2.0, "harmonize": [600, 400], "edits": []},
        model="pocket",
        kept=KeptLatents(t=np.array([501, 1], np.int32), states=states, clean=states[0]),
    )
    return image.save(tmp_path_factory.mktemp("scene") / "whole")


def test_scenes(campaign: Callable[..., None], mutate: Callable[..., bytes], alter: Callable[..., str], whole: Path) -> None:
    listing = json.loads((whole / "scene.json").read_text(encoding="utf-8"))
    contents = {path.name: path.read_bytes() for path in sorted(whole.iterdir())}

    def scenes(chance: random.Random, folder: Path) -> None:
        scene = folder / "scene"
        scene.mkdir()
        for name, content in contents.items():
            (scene / name).write_bytes(content)
        match chance.randrange(8):
            case 0:
                (scene / "scene.json").write_bytes(mutate((scene / "scene.json").read_bytes(), chance))
            case 1:
                file = scene / chance.choice(list(contents))
                file.write_bytes(mutate(file.read_bytes(), chance))
            case 2:
                file = scene / chance.choice(list(contents))
                file.unlink()
                if chance.random() < 0.7:
                    file.symlink_to(chance.choice(("/etc/passwd", "/dev/zero", "/", "nowhere", str(whole / file.name))))
            case _:
                (scene / "scene.json").write_text(alter(listing, chance), encoding="utf-8")
        image = LayeredImage.load(scene)
        prompts = [layer.prompt for layer in plan(image, [Flip(1)])]
        check_request(background=prompts[0], foregrounds=prompts[1:], seed=image.seed)
        Sampling.from_settings(image.settings)
        if chance.random() < 0.05:
            write_editor_file(image, folder / f"a.{chance.choice(('psd', 'ora'))}")

    campaign(0.15, scenes, (ValueError, FileNotFoundError, RequestError))
