"""The paper's recipe on a small random Stable Diffusion folder, which diffusers writes, and a data set made from a few pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from flax.traverse_util import flatten_dict
from transformers import CLIPTextConfig, CLIPTextModel

from data.captions import all_captions
from data.from_pictures import run_all
from data.peel.assemble import AssemblyRules
from data.peel.filters import FilterRules
from data.peel.ingest import IngestRules
from data.peel.oracle import SceneOracles
from data.peel.peel import PeelSettings
from data.peel.run import Run
from data.scenes import compose
from data.world import shapes_world
from dreamlayer_jax import DreamLayer
from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.init import param_shapes
from dreamlayer_jax.models.layered import is_trained
from dreamlayer_jax.place import Place
from train.__main__ import main
from train.configs.paper import PaperTraining
from train.export import load_params
from train.optimizer import make_optimizer
from train.state import create, split
from train.step import make_gradient
from train.tokenizer import build_tokenizer

PROMPTS = (("a desert", "a red circle"),)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16x16 pixels, 2x2 latents, 32 tokens."""
    folder, levels = tmp_path_factory.mktemp("base"), 4
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=2, block_out_channels=(8, 8), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, attention_head_dim=2, cross_attention_dim=8,
        norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4,) * levels, down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1, norm_num_groups=2, sample_size=16,
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=1024, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=build_tokenizer(all_captions(shapes_world()), folder / "tokenizer", 32, 1024),
        scheduler=PNDMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, skip_prk_steps=True, set_alpha_to_one=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "sd")
    return folder / "sd"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures taken apart into two and three layers, larger than the model's pictures."""
    folder, oracles = tmp_path_factory.mktemp("pictures"), SceneOracles()
    for seed in range(6):
        oracles.write(compose(shapes_world(), seed, size=40, k=2 + seed % 2), folder)
    settings = PeelSettings(filters=FilterRules(check_sharpness=False, min_inside_db=0, max_soft=1))
    work = tmp_path_factory.mktemp("work")
    run = Run(pictures=folder, work=work, stages=oracles, settings=settings, rules=IngestRules(min_side=40))
    told = run_all(run, tmp_path_factory.mktemp("data"), AssemblyRules())
    assert "6 inputs: 6 accepted, 0 rejected, 0 failed" in told
    return Path(told.removeprefix("wrote ").partition(": ")[0])


@pytest.fixture(scope="module")
def training(base: Path, data: Path) -> PaperTraining:
    return PaperTraining(base=str(base), data=data, batch_size=2, picture_prompts=PROMPTS)


@pytest.fixture(scope="module")
def workdir(training: PaperTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, by the command, two steps each."""
    workdir = tmp_path_factory.mktemp("run")
    flags = ("--config", "paper", "--base", training.base, "--data", str(training.data), "--workdir", str(workdir), "--steps", "2")
    assert main([*flags, "--batch-size", "2", "--optimizer.learning-rate", "1e-3", "--loop.picture-every", "100"]) == 0
    return workdir


def test_each_stage_moves_what_the_paper_trains_and_the_second_goes_on_from_the_first(training: PaperTraining, workdir: Path) -> None:
    start = flatten_dict({name: tree for name, tree in training.model.params.items() if name != "vae"})
    first, second = (flatten_dict(load_params(workdir / stage / "params.safetensors")) for stage in training.stages)
    assert set(first) == set(second) == {path for path in start if is_trained(path)}
    assert {path[0] for path in first} == {"unet", "layer_assign"}
    moved = {path for path, value in first.items() if not np.array_equal(value, start[path])}
    assert any(path[-2] == "to_k" for path in moved)
    assert any(path[-2] == "to_v_foreground" for path in moved)
    assert ("layer_assign", "embedding") in moved
    again = flatten_dict(training.stage("more_layers", workdir).init(jax.random.key(0)))
    for path, value in again.items():
        np.testing.assert_array_equal(value, first.get(path, start[path]))
    assert any(not np.array_equal(second[path], first[path]) for path in first)


def test_the_trained_part_is_laid_over_its_base_and_shipped(training: PaperTraining, workdir: Path, tmp_path: Path) -> None:
    whole = DreamLayer.from_pretrained(training.base, trained=workdir / "more_layers" / "trained")
    expected = flatten_dict(load_params(workdir / "more_layers" / "params.safetensors"))
    for path, value in flatten_dict(whole.params).items():
        if path in expected:
            np.testing.assert_array_equal(value, expected[path])
    training.ship(workdir, tmp_path / "model")
    shipped = DreamLayer.from_pretrained(tmp_path / "model")
    for path, value in flatten_dict(shipped.params).items():
        np.testing.assert_allclose(value, flatten_dict(whole.params)[path], rtol=1e-2, atol=1e-6)
    assert "| more_layers | 2 | 1 |" in (tmp_path / "model" / "README.md").read_text()


def test_a_second_stage_needs_the_first(training: PaperTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--config", "paper", "--base", training.base, "--data", str(training.data), "--workdir", str(tmp_path))
    assert main([*flags, "--stages", "more_layers"]) == 1
    assert "run the stage 'two_layers' of this workdir first" in capsys.readouterr().err


def test_batches_have_the_layer_counts_of_their_stage(training: PaperTraining, workdir: Path) -> None:
    for stage, counts in (("two_layers", {2}), ("more_layers", {3})):
        batches = iter(training.stage(stage, workdir).dataset())
        shapes = [next(batches)["latents"].shape for _ in range(6)]
        assert {layers - 1 for _, layers, *_ in shapes} == counts
        assert {scenes for scenes, *_ in shapes} == {2}


def test_gradient_checkpointing_changes_no_gradient(training: PaperTraining, workdir: Path) -> None:
    stage = dataclasses.replace(training.stage("two_layers", workdir), place=Place())
    trainable, frozen = split(stage.init(jax.random.key(0)), stage.trainable)
    batch = next(iter(stage.dataset()))

    def found(remat: bool) -> list[jax.Array]:
        gradient = make_gradient(dataclasses.replace(stage, remat=remat))
        state = create(trainable, stage.optimizer(), 0)
        return jax.tree.leaves(jax.jit(gradient)(state, frozen, batch))

    for plain, again in zip(found(False), found(True), strict=True):
        np.testing.assert_allclose(plain, again, rtol=1e-3, atol=1e-6)


def test_what_is_frozen_has_no_gradient_and_no_optimizer_state() -> None:
    """At Stable Diffusion 1.5's size, by shapes alone."""
    trainable, frozen = split(param_shapes(sd15(), ("unet", "text_encoder", "layer_assign")), is_trained)
    optimizer = make_optimizer(PaperTraining(base="", data=Path()).optimizer, 1)
    state = jax.eval_shape(lambda params: create(params, optimizer, 0), trainable)
    learning = size(trainable)
    assert size(state.params) == size(state.ema) == learning == 88_535_298
    assert size(frozen) == 938_631_364
    assert size(state.opt_state) == 2 * learning + len([leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim == 0])


def size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
