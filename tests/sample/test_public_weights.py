"""The commands of docs/public_weights.md, typed as they stand there, on small random files of the same names and layouts."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamlayer_jax.config import sd15
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.original_names import VAE, original_key

PAGE = Path(__file__).parents[2] / "docs" / "public_weights.md"


def commands() -> list[list[str]]:
    """The arguments of every `python -m sample` in the page's shell blocks."""
    blocks = PAGE.read_text(encoding="utf-8").split("```sh\n")[1:]
    lines = [block.split("```")[0].replace("\\\n", " ") for block in blocks]
    return [shlex.split(line)[3:] for line in lines if line.startswith("python -m sample ")]


@pytest.fixture(scope="module")
def files(plain_model, few_step_lora, layer_attention_file, layer_decoder: Path, tmp_path_factory) -> Path:
    """A folder with `weights/`, as the page says."""
    base = tmp_path_factory.mktemp("public")
    weights = base / "weights"
    (weights / "lcm-lora-sdv1-5").mkdir(parents=True)
    rng = np.random.default_rng(3)

    def draw(shape: tuple[int, ...], scale: float = 0.05) -> np.ndarray:
        return np.asarray(scale * rng.standard_normal(shape), np.float16)

    config = plain_model.config
    whole = {original_key(key, config): tensor for key, tensor in from_params(plain_model.params).items()}
    save_file({key: tensor.astype(np.float16) for key, tensor in whole.items()}, weights / "realisticVisionV51.safetensors")
    vae = {key.removeprefix(VAE): np.float32(1.05) * tensor for key, tensor in whole.items() if key.startswith(VAE)}
    save_file(vae, weights / "vae-ft-mse-840000-ema-pruned.safetensors")
    lcm = {key: draw(shape) for key, shape in few_step_lora(config, 2).items()}
    save_file(lcm, weights / "lcm-lora-sdv1-5" / "pytorch_lora_weights.safetensors")
    style = {key: tensor for key, tensor in lcm.items() if "attentions" in key}
    save_file(style, weights / "style.safetensors")
    save_file({"emb_params": draw((2, 12), 1.0)}, weights / "toy.safetensors")
    for kind in ("joint", "bg2fg"):
        tensors = layer_attention_file(config.unet, kind, dtype=np.float16)
        save_file({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, weights / f"layer_sd15_{kind}.safetensors")
    (weights / "layer_sd15_vae_transparent_decoder.safetensors").symlink_to(layer_decoder)
    return base


@pytest.mark.parametrize("number", range(4), ids=["doctor", "joint", "chain, LCM", "style, word, autoencoder"])
def test_the_command_works_as_it_stands(sample, plain_model, files: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    arguments = commands()[number]
    monkeypatch.chdir(files)
    # A single file says nothing of its sizes: it is taken for Stable Diffusion 1.5's, which these files would be too small for.
    small = dataclasses.replace(plain_model.config, schedule=sd15().schedule)
    monkeypatch.setattr("dreamlayer_jax.weights.base.sd15", lambda: small)
    done = sample(*arguments, "--tokenizer", plain_model.folder / "tokenizer")
    assert done.status == 0, done.err
    assert "warning" not in done.err
    if "--out" in arguments:
        out = Path(arguments[arguments.index("--out") + 1])
        foregrounds = arguments.count("--foreground")
        assert len(list(out.glob("[0-9]_*.png"))) == 1 + foregrounds
    else:
        assert "an LCM-LoRA: sampler lcm, 4 steps, no guidance" in done.out


def test_there_are_four() -> None:
    assert [command[0] for command in commands()] == ["doctor", "generate", "generate", "generate"]
