"""The diffusion stage, and the way from its end to a model that generates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.diffusion.schedule import alphas_cumprod
from dreamlayer_jax.models.unet import UNetOutput
from dreamlayer_jax.pipeline import DreamLayer
from train.configs.pocket import PocketTraining
from train.diffusion import DiffusionStage, LossConfig
from train.given import GivenShares
from train.loop import LoopConfig, fit
from train.ship import ship


@pytest.fixture(scope="module")
def stage(tiny_training: PocketTraining, trained_workdir: Path) -> DiffusionStage:
    tiny_training.prepare("diffusion", trained_workdir)
    return tiny_training.diffusion(trained_workdir)


def test_a_batch_has_one_layer_count_and_every_count_comes_up(stage: DiffusionStage) -> None:
    batches = iter(stage.dataset())
    seen = set()
    for batch in (next(batches) for _ in range(8)):
        scenes, images = batch["latents"].shape[:2]
        assert scenes == stage.images_per_batch // images
        assert batch["ids"].shape[1] == images - 1 == batch["alpha"].shape[1] + 1
        assert (batch["words"] > 0).all()
        seen.add(images - 1)
    assert seen == set(stage.sources) == {2, 3}


def test_eq_8_is_the_weighted_sum_and_dropped_prompts_have_no_maps(stage: DiffusionStage) -> None:
    batch = next(iter(stage.dataset()))
    params = stage.init(jax.random.key(0))

    def parts(losses: LossConfig) -> tuple[float, dict[str, float]]:
        total, found = jax.jit(dataclasses.replace(stage, losses=losses).loss)(params, batch, jax.random.key(1), 0)
        return float(total), {name: float(value) for name, value in found.items()}

    total, found = parts(LossConfig(noise=0.5, context=2.0, layout=3.0, prompt_dropout=0.0))
    assert all(value > 0 for value in found.values())
    np.testing.assert_allclose(total, 0.5 * found["noise"] + 2 * found["context"] + 3 * found["layout"], rtol=1e-5)
    total, found = parts(LossConfig(prompt_dropout=1.0))
    assert found["context"] == found["layout"] == 0
    np.testing.assert_allclose(total, found["noise"], rtol=1e-6)


def test_what_is_given_is_clean_at_t_0_and_not_learnt(stage: DiffusionStage, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, seen = next(iter(stage.dataset())), {}

    def zero(config: object, params: object, z: jax.Array, t: jax.Array, layers: object, *_: object, **__: object) -> UNetOutput:
        seen.update(z=np.asarray(z), t=np.asarray(t))
        return UNetOutput(jnp.zeros_like(z), None)

    monkeypatch.setattr("train.diffusion.predict", zero)
    all_pictures = dataclasses.replace(stage, losses=LossConfig(given=GivenShares(picture=1.0)))
    total, _ = all_pictures.loss(stage.init(jax.random.key(0)), batch, jax.random.key(1), jnp.asarray(0))
    clean = np.moveaxis(np.asarray(batch["latents"], np.float32), 1, 0)
    np.testing.assert_array_equal(seen["z"][-1], clean[-1])
    assert (seen["t"][-1] == 0).all()
    assert (seen["t"][:-1] > 0).any()
    assert not np.array_equal(seen["z"][0], clean[0])
    alpha = np.asarray(alphas_cumprod(stage.config.schedule))[seen["t"][:-1], None, None, None]
    noise = (seen["z"][:-1] - np.sqrt(alpha) * clean[:-1]) / np.sqrt(1 - alpha)
    np.testing.assert_allclose(total, np.square(noise).mean(), rtol=1e-3)  # ε is predicted, here as zero


def test_what_is_trained_is_shipped_and_generates(
    stage: DiffusionStage, tiny_training: PocketTraining, trained_workdir: Path, tmp_path: Path
) -> None:
    fit(stage, trained_workdir, LoopConfig(picture_every=2, checkpoint_every=2), tiny_training)
    assert (trained_workdir / "diffusion" / "samples" / "0000002.png").is_file()
    folder = tmp_path / "model"
    ship(tiny_training.trained_model(trained_workdir), tiny_training.scenes, trained_workdir, folder)
    image = DreamLayer.from_pretrained(folder).generate(background="a desert", foregrounds=["a red circle"], seed=3, steps=2)
    assert [layer.prompt for layer in image.layers] == ["a desert", "a red circle"]
    assert image.global_rgb.shape == (16, 16, 3)
    assert "| diffusion | 2 | 1 |" in (folder / "README.md").read_text()
    with pytest.raises(FileExistsError, match="choose another folder"):
        ship(tiny_training.trained_model(trained_workdir), tiny_training.scenes, trained_workdir, folder)
