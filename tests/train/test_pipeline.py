"""The stages one after the other on a few shapes: caches, exports, pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTokenizer

from data.source import SceneSource
from data.world import shapes_world
from dreamlayer_jax.models.vae import AutoencoderKL
from dreamlayer_jax.weights.formats.config_json import read_config
from train.__main__ import main
from train.configs.pocket import PocketTraining
from train.export import load_params
from train.images import ImageSource, layer_images
from train.latents import Encoder, build_latents, encode_scenes, latent_alpha, open_latents
from train.layer_decoder import ForegroundSource
from train.scene_cache import SceneSet, build_scene_cache, open_scene_cache, open_world
from train.scene_shards import cached_shards


def test_a_world_may_be_a_folder_of_cutouts(tmp_path: Path) -> None:
    cutouts = tmp_path / "cutouts"
    cutouts.mkdir()
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0), "white": (255, 255, 255)}.items():
        picture = np.zeros((20, 20, 4), np.uint8)
        picture[4:16, 4:16] = (*colour, 255)
        Image.fromarray(picture).save(cutouts / f"{name}_box.png")
    scenes = SceneSet(scenes=4, world=str(cutouts), size=16, shard_size=2, layer_pattern=(2,))
    build_scene_cache(scenes, tmp_path / "scenes")
    names = {name for shard in open_scene_cache(scenes, tmp_path / "scenes") for scene in shard.names for name in scene[1:]}
    assert names <= {"red box", "blue box", "green box", "white box"}
    assert names
    with pytest.raises(ValueError, match="there is no world 'emojis': give emoji, shapes, or a folder of RGBA cut-outs"):
        open_world("emojis")


def test_cached_scenes_are_the_composed_ones(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    shards = open_scene_cache(tiny_training.scenes, trained_workdir / "scenes")
    assert [(shard.k, len(shard.rgba)) for shard in shards] == [(3, 4), (2, 4), (3, 4)]
    example = SceneSource(world=shapes_world(), seeds=range(100), size=16, k=2)[5]
    np.testing.assert_array_equal(shards[1].rgba[1], example["rgba"])
    np.testing.assert_array_equal(shards[1].global_rgb[1], example["global"])
    assert tuple(shards[1].prompts[1]) == example["prompts"]


def test_a_missing_shard_is_composed_again_and_no_other(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    folder = trained_workdir / "scenes"
    kept = (folder / "00000_k3.rgba.npy").stat().st_mtime_ns
    before = (folder / "00001_k2.rgba.npy").read_bytes()
    (folder / "00001_k2.json").unlink()
    build_scene_cache(tiny_training.scenes, folder)
    assert (folder / "00001_k2.rgba.npy").read_bytes() == before
    assert (folder / "00000_k3.rgba.npy").stat().st_mtime_ns == kept


def test_a_cache_of_other_settings_is_refused(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    with pytest.raises(ValueError, match=r"other settings \(size differ\)"):
        build_scene_cache(dataclasses.replace(tiny_training.scenes, size=32), trained_workdir / "scenes")


def test_two_processes_compose_what_one_composes(tmp_path: Path) -> None:
    scenes = SceneSet(scenes=4, world="shapes", size=16, shard_size=2, layer_pattern=(2,))
    for processes in (1, 2):
        build_scene_cache(scenes, tmp_path / str(processes), processes)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "12")
    assert one == two


def test_every_picture_of_a_scene_comes_up(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    shards = open_scene_cache(tiny_training.scenes, trained_workdir / "scenes")
    source = ImageSource(shards)
    assert len(source) == 8 * 4 + 4 * 3
    expected = np.concatenate([layer_images(s.rgba, s.global_rgb).reshape(-1, 16, 16, 3) for s in shards])
    np.testing.assert_array_equal([source[n]["rgb"] for n in range(len(source))], expected)


def test_autoencoder_export(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    folder = trained_workdir / "autoencoder"
    assert set(load_params(folder / "params.safetensors")["vae"]) == {"encoder", "decoder", "quant_conv", "post_quant_conv"}
    found = read_config(folder / "config.json")
    assert dataclasses.replace(found, vae=dataclasses.replace(found.vae, scaling_factor=1.0)) == tiny_training.model
    assert found.vae.scaling_factor != 1.0
    with Image.open(folder / "samples" / "0000006.png") as sheet:
        assert sheet.size == (16 * 12, 32)  # three scenes of four pictures, originals above reconstructions
    assert json.loads((folder / "run.json").read_text())["config"]["autoencoder_steps"] == 6


def test_latents_are_the_scaled_means(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    model = tiny_training.trained_model(trained_workdir)
    vae = load_params(trained_workdir / "autoencoder" / "params.safetensors")["vae"]
    shards = open_scene_cache(tiny_training.scenes, trained_workdir / "scenes")
    scenes = open_latents(trained_workdir / "latents", 3)
    assert {k: len(some) for k, some in scenes.items()} == {2: 4, 3: 8}
    item = scenes[3][5]  # scene 1 of the second shard with k = 3
    assert (item["latents"].shape, item["alpha"].shape) == ((4, 2, 2, 4), (2, 2, 2))
    assert (item["latents"].dtype, item["alpha"].dtype) == (np.float16, np.float16)
    images = layer_images(shards[2].rgba[1], shards[2].global_rgb[1])
    means, _ = AutoencoderKL(model.vae).apply({"params": vae}, images.astype(np.float32) / 127.5 - 1, method="encode")
    np.testing.assert_allclose(item["latents"], means * model.vae.scaling_factor, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(item["alpha"], shards[2].rgba[1, 1:, ..., 3].reshape(2, 2, 8, 2, 8).mean((2, 4)) / 255, atol=1e-3)
    assert item["prompts"] == tuple(shards[2].prompts[1])


def test_padding_to_the_batch_changes_nothing(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    vae = load_params(trained_workdir / "autoencoder" / "params.safetensors")["vae"]
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 16, 16, 3), np.uint8)
    model = tiny_training.model
    np.testing.assert_allclose(encode_scenes(model, vae, images, 5), encode_scenes(model, vae, images, 3), atol=1e-5)


def test_latents_stay_until_the_autoencoder_changes(tiny_training: PocketTraining, trained_workdir: Path, tmp_path: Path) -> None:
    model = tiny_training.trained_model(trained_workdir)
    vae = load_params(trained_workdir / "autoencoder" / "params.safetensors")["vae"]

    tokenizer = CLIPTokenizer.from_pretrained(trained_workdir / "tokenizer")

    def built(params: dict) -> tuple[int, np.ndarray]:
        encoder = Encoder(config=model, vae_params=params, tokenizer=tokenizer, batch_size=4)
        build_latents(encoder, cached_shards(tiny_training.scenes, trained_workdir / "scenes"), tmp_path, renew=True)
        return (tmp_path / "00001_latents_k2.npy").stat().st_mtime_ns, open_latents(tmp_path, 3)[2][0]["latents"]

    first_time, first = built(vae)
    assert built(vae)[0] == first_time
    changed = vae | {"quant_conv": {name: value + 1 for name, value in vae["quant_conv"].items()}}
    assert not np.array_equal(built(changed)[1], first)


def test_alpha_is_averaged_over_each_latent() -> None:
    alpha = np.zeros((1, 1, 16, 16), np.uint8)
    alpha[..., :8, :4] = 255
    np.testing.assert_array_equal(latent_alpha(alpha, 8)[0, 0], [[0.5, 0.0], [0.0, 0.0]])


def test_objects_meet_their_own_truth(tiny_training: PocketTraining, trained_workdir: Path) -> None:
    shards = open_scene_cache(tiny_training.scenes, trained_workdir / "scenes")
    source = ForegroundSource(open_latents(trained_workdir / "latents", 3), shards)
    assert len(source) == 4 * 1 + 8 * 2
    model = tiny_training.trained_model(trained_workdir)
    vae = load_params(trained_workdir / "autoencoder" / "params.safetensors")["vae"]
    for index in (0, 3, 4, 9, 19):
        rgba = source[index]["rgba"]
        again = encode_scenes(model, vae, layer_images(rgba[None, None], np.zeros((1, 16, 16, 3), np.uint8)), 1)[0, 0]
        np.testing.assert_allclose(source[index]["latent"], again, rtol=2e-3, atol=2e-3)


def test_the_layer_decoder_leaves_the_autoencoder_alone(trained_workdir: Path) -> None:
    assert set(load_params(trained_workdir / "layer_decoder" / "params.safetensors")) == {"layer_decoder"}
    assert (trained_workdir / "layer_decoder" / "samples" / "0000003.png").is_file()


def test_errors_of_the_command_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workdir", str(tmp_path), "--stages", "vae"]) == 2
    assert "unknown stages vae; pocket has autoencoder, layer_decoder" in capsys.readouterr().err
    assert main(["export", "--workdir", str(tmp_path), "--stages", "layer_decoder"]) == 1
    assert "run the stage 'autoencoder' of this workdir first" in capsys.readouterr().err
