"""A data set as latents: buckets by layer count, shards that are not made twice, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

from data.crop import SquareScenes
from data.scenes import alpha_box
from data.source import Example
from dreamlayer_jax.prompts import PromptError
from train.images import layer_images
from train.latents import Encoder, build_latents, encode_scenes, latent_alpha, open_latents
from train.scene_shards import SceneShard, source_shards

COUNTS = (2, 3, 2, 2, 3)
PROMPTS = ("a sandy beach", "a red dog", "a dog")


class Scenes:
    """Noise, wider than high, of `COUNTS` layers."""

    def __init__(self, prompts: tuple[str, ...] = PROMPTS) -> None:
        self.prompts = prompts

    def __len__(self) -> int:
        return len(COUNTS)

    def __getitem__(self, index: int) -> Example:
        rng, k = np.random.default_rng(index), COUNTS[index]
        rgba = rng.integers(0, 256, (k, 20, 30, 4), np.uint8)
        rgba[0, ..., 3] = 255
        return {
            "rgba": rgba,
            "global": rng.integers(0, 256, (20, 30, 3), np.uint8),
            "prompts": self.prompts[:k],
            "names": self.prompts[:k],
            "boxes": np.stack([alpha_box(layer[..., 3]) for layer in rgba]),
            "seed": index,
        }


@pytest.fixture(scope="module")
def encoder(plain_model) -> Encoder:
    tokenizer = CLIPTokenizer.from_pretrained(plain_model.folder / "tokenizer")
    return Encoder(config=plain_model.config, vae_params=plain_model.params["vae"], tokenizer=tokenizer, batch_size=2)


@pytest.fixture(scope="module")
def folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    build_latents(encoder, shards(), folder)
    return folder


def shards(what: str = "noise", prompts: tuple[str, ...] = PROMPTS) -> list[SceneShard]:
    return source_shards(Scenes(prompts), what, size=16, shard_size=3)


def test_scenes_are_cut_encoded_and_found_by_layer_count(encoder: Encoder, folder: Path) -> None:
    opened = open_latents(folder, 2, (2, 3, 4))
    assert {k: len(scenes) for k, scenes in opened.items()} == {2: 3, 3: 2}
    for k, number, index in ((2, 0, 0), (2, 1, 2), (2, 2, 3), (3, 0, 1), (3, 1, 4)):
        item, scene = opened[k][number], SquareScenes(Scenes(), 16, range(5))[index]
        images = layer_images(scene["rgba"][None], scene["global"][None])
        expected = encode_scenes(encoder.config, encoder.vae_params, images, 2)[0]
        np.testing.assert_allclose(item["latents"], expected, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(item["alpha"], latent_alpha(scene["rgba"][None, 1:, ..., 3], 8)[0], atol=1e-3)
        assert item["prompts"] == PROMPTS[:k]


def test_only_what_is_missing_is_encoded_again(encoder: Encoder, folder: Path) -> None:
    first, second = folder / "00000_latents_k2.npy", folder / "00001_latents_k2.npy"
    kept, content = first.stat().st_mtime_ns, second.read_bytes()
    (folder / "00001.json").write_text("{}")  # damaged is as good as missing
    build_latents(encoder, shards(), folder)
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == content


def test_what_cannot_be_used_is_refused(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latents of another data set"):
        build_latents(encoder, shards("other noise"), folder)
    with pytest.raises(ValueError, match=r"no scene of the data set has 4 layers \(there are 2 or 3\)"):
        open_latents(folder, 2, (4,))
    with pytest.raises(FileNotFoundError, match="is not complete: encode the scenes first"):
        open_latents(folder, 3)
    with pytest.raises(PromptError, match="tokens together"):
        build_latents(dataclasses.replace(encoder, batch_size=1), shards("long", ("a red dog " * 4,) * 3), tmp_path)
