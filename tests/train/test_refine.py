"""A trained model goes on, and only its attention and the layers' own parameters move."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from data.captions import all_captions
from data.world import shapes_world
from dreamlayer_jax import DreamLayer
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from tests.train.conftest import tiny_model
from train.configs.refine import RefineTraining
from train.export import load_params
from train.loop import LoopConfig, fit
from train.optimizer import OptimizerConfig
from train.scene_cache import SceneSet
from train.tokenizer import build_tokenizer

WORDS = {"backgrounds": ["a desert"], "foregrounds": ["a red circle"], "words": ["red"]}
ABOVE = "# Tiny\n\n"
TABLE = "| stage | steps | starts | last start | commit | device |\n|---|---|---|---|---|---|\n| diffusion | 7 | 1 | | | |\n"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> RefineTraining:
    folder, config = tmp_path_factory.mktemp("start"), tiny_model()
    build_tokenizer(all_captions(shapes_world()), folder / "tokenizer", config.text.max_position_embeddings, config.text.vocab_size)
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(3))
    save_pretrained(folder / "model", config, params, folder / "tokenizer", WORDS, ABOVE + TABLE)
    return RefineTraining(
        weights=str(folder / "model"),
        scenes=SceneSet(scenes=8, world="shapes", size=16, shard_size=4, layer_pattern=(3, 2)),
        refine_steps=2,
        images=8,
        optimizer=OptimizerConfig(matrices="adam", warmup_steps=0, learning_rate=1e-2),
        picture_prompts=(("a desert", "a red circle"),),
    )


@pytest.fixture(scope="module")
def workdir(training: RefineTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    training.prepare("refine", workdir)
    fit(training.stage("refine", workdir), workdir, LoopConfig(), training)
    return workdir


def is_layered_or_attention(path: tuple[str, ...]) -> bool:
    """By the names that parameters have, apart from the library's own rule."""
    return path[0] == "layer_assign" or any(part in ("attn1", "attn2", "self_attn", "context_maps") for part in path)


def test_attention_and_the_layers_own_parameters_move_and_nothing_else(training: RefineTraining, workdir: Path, tmp_path: Path) -> None:
    training.ship(workdir, tmp_path / "model")
    before, after = (flatten_dict(DreamLayer.from_pretrained(where).params) for where in (training.weights, tmp_path / "model"))
    assert set(before) == set(after)
    moved = {path for path in after if not np.array_equal(before[path], after[path])}
    assert {path[0] for path in moved} == {"unet", "text_encoder", "layer_assign"}
    assert all(is_layered_or_attention(path) for path in moved)
    learned = flatten_dict(load_params(workdir / "refine" / "params.safetensors"))
    assert set(learned) == {path for path in before if path[0] != "vae" and is_layered_or_attention(path)}
    for path, value in learned.items():
        np.testing.assert_allclose(after[path], value, rtol=1e-2)  # bfloat16


def test_the_shipped_folder_keeps_words_and_tokenizer_and_adds_to_the_card(training: RefineTraining, workdir: Path, tmp_path: Path) -> None:
    before, after = Path(training.weights), tmp_path / "model"
    training.ship(workdir, after)
    for name in ("vocabulary.json", "config.json", *(f"tokenizer/{path.name}" for path in (before / "tokenizer").iterdir())):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    card = (after / "README.md").read_text()
    data = "Refined on 8 scenes, seeds from 0, (3, 2) layers in turn.\n\n"
    assert card.startswith(f"{ABOVE}{data}{TABLE}| refine | 2 | 1 | `python -m train ")


def test_only_a_shipped_model_is_shipped_on(training: RefineTraining, workdir: Path, tmp_path: Path) -> None:
    training.model.save_pretrained(tmp_path / "without_words")
    other = RefineTraining(weights=str(tmp_path / "without_words"))
    with pytest.raises(FileNotFoundError, match=r"vocabulary\.json does not exist: .* goes on from a folder that .* wrote"):
        other.ship(workdir, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_start_that_has_changed_is_refused(training: RefineTraining, workdir: Path, tmp_path: Path) -> None:
    model = training.model
    params = jax.jit(lambda key: init_params(model.config, key))(jax.random.key(4)) | {"vae": model.params["vae"]}
    save_pretrained(tmp_path / "other", model.config, params, Path(training.weights) / "tokenizer", WORDS, ABOVE + TABLE)
    changed = dataclasses.replace(training, weights=str(tmp_path / "other"), refine_steps=3)
    with pytest.raises(ValueError, match="refine was trained beside other frozen parameters: the model it started from has changed"):
        fit(changed.stage("refine", workdir), workdir, LoopConfig(), changed)
    with pytest.raises(ValueError, match="trained beside other frozen parameters"):
        changed.ship(workdir, tmp_path / "model")
    assert not (tmp_path / "model").exists()
