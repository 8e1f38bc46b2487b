"""The layered UNet with LayerDiffusion's attention against diffusers' UNet with the same in PyTorch, on random files of the same layout."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from dreamlayer_jax.config import FRAMES, LayeredConfig, UNetConfig
from dreamlayer_jax.diffusion.predict import predict
from dreamlayer_jax.layer_axis import LayerContext, Role
from dreamlayer_jax.models.control import Control
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.weights.files.convert import fit, read, to_params
from dreamlayer_jax.weights.files.tensor_files import load_safetensors
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention

HEADS, WIDE, WORDS, SIDE, B = 4, 20, 7, 8, 2
log = logging.getLogger(__name__)
UNET = UNetConfig(
    block_out_channels=(16, 16), cross_attention=(True, False), layers_per_block=1, num_attention_heads=HEADS, cross_attention_dim=WIDE,
    norm_num_groups=8,
)  # fmt: skip
T = np.array([981, 7])


class Frames(nn.Module):
    """An attention processor for one attention of a UNet whose batch is (scenes frames)."""

    def __init__(self, tensors: dict[str, torch.Tensor], i: int, frames: int) -> None:
        super().__init__()
        self.of = lambda name: tensors[f"hookers.layers.{i}.{name}"]
        self.frames = frames
        self.signals: list[torch.Tensor] = []

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, self.of(f"temporal_{name}.weight"), self.of(f"temporal_{name}.bias"))

    def control(self, f: int, tokens: int) -> torch.Tensor | float:
        (signal,) = [s for s in self.signals if s.shape[-1] * s.shape[-2] == tokens] or [None]
        if signal is None:
            return 0.0
        hidden = functional.conv2d(signal, self.of(f"control_convs.{f}.0.weight"), self.of(f"control_convs.{f}.0.bias"), padding=1)
        c = functional.conv2d(functional.silu(hidden), self.of(f"control_convs.{f}.2.weight"), self.of(f"control_convs.{f}.2.bias"))
        return c.flatten(2).transpose(1, 2)

    def __call__(self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        def changed(x: torch.Tensor, layer: nn.Linear, name: str, f: int) -> torch.Tensor:
            delta = self.of(f"{name}_lora.{f}.up.weight") @ self.of(f"{name}_lora.{f}.down.weight")
            return functional.linear(x, layer.weight + delta, layer.bias)

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(-2, -3)

        given, answers, added = [], [], []
        for f in range(self.frames):
            h = hidden_states[f :: self.frames]
            c = self.control(f, h.shape[1])
            m = h + c
            source = m if encoder_hidden_states is None else encoder_hidden_states[f :: self.frames]
            q, k, v = changed(m, attn.to_q, "to_q", f), changed(source, attn.to_k, "to_k", f), changed(source, attn.to_v, "to_v", f)
            a = functional.scaled_dot_product_attention(heads(q), heads(k), heads(v)).transpose(-2, -3).flatten(-2)
            given.append(m)
            answers.append(changed(a, attn.to_out[0], "to_out", f))
            added.append(c)
        y = torch.stack([m + a for m, a in zip(given, answers, strict=True)], dim=2)  # scenes, positions, frames, channels
        z = functional.layer_norm(y, y.shape[-1:], self.of("temporal_n.weight"), self.of("temporal_n.bias"), eps=1e-6)
        z = self.linear(z, "i")
        o = functional.scaled_dot_product_attention(*(heads(self.linear(z, x)) for x in "qkv")).transpose(-2, -3).flatten(-2)
        tau = self.linear(o, "o")
        out = torch.stack([c + a + tau[:, :, f] for f, (c, a) in enumerate(zip(added, answers, strict=True))], dim=1)
        return out.flatten(0, 1)


def encoded(tensors: dict[str, torch.Tensor], picture_pm1: torch.Tensor) -> list[torch.Tensor]:
    """The control encoder's signals."""
    blocks = sorted({int(key.split(".")[1].removeprefix("blocks_")) for key in tensors if key.startswith("kwargs_encoder.")})
    x, signals = picture_pm1, []
    for j in blocks:
        numbers = sorted({int(key.split(".")[2]) for key in tensors if key.startswith(f"kwargs_encoder.blocks_{j}.")})
        for n in numbers:
            halve = n in (4, 8, 12) if j == 0 else n == 0
            weight, bias = tensors[f"kwargs_encoder.blocks_{j}.{n}.weight"], tensors[f"kwargs_encoder.blocks_{j}.{n}.bias"]
            x = functional.silu(functional.conv2d(x, weight, bias, stride=2 if halve else 1, padding=1))
        signals.append(x)
    return signals


@dataclasses.dataclass(frozen=True)
class Reference:
    """diffusers' UNet, and what it predicts for frames."""

    unet: UNet2DConditionModel

    def __call__(self, tensors: dict[str, np.ndarray], frames: int, z: Any, t: Any, prompt: Any, picture_pm1: Any = None) -> np.ndarray:
        """`z` (l, b, h, w, c), `prompt` (l, b, s, d), `t` (b,); the result as `z`."""
        tensors = {key: torch.from_numpy(value).float() for key, value in tensors.items()}
        signals = [] if picture_pm1 is None else encoded(tensors, torch.from_numpy(picture_pm1).permute(0, 3, 1, 2))
        attentions = [name for name, _ in self.unet.named_modules() if name.endswith((".attn1", ".attn2"))]
        stages = ("down_blocks", "up_blocks", "mid_block")
        order = [name for stage in stages for name in attentions if name.startswith(stage)]
        processors = {name: Frames(tensors, i, frames) for i, name in enumerate(order)}
        for processor in processors.values():
            processor.signals = signals
        self.unet.set_attn_processor({f"{name}.processor": processor for name, processor in processors.items()})
        together = [torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1))).flatten(0, 1) for x in (z, prompt)]
        with torch.no_grad():
            out = self.unet(together[0].permute(0, 3, 1, 2), torch.from_numpy(np.repeat(t, frames)), together[1]).sample
        return out.permute(0, 2, 3, 1).unflatten(0, (-1, frames)).transpose(0, 1).numpy()


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Two scenes, both halves of guidance: one empty prompt for all frames, then a prompt for each frame of each scene."""

    z: np.ndarray
    t: np.ndarray
    prompt: np.ndarray
    picture_pm1: np.ndarray


def inputs(frames: int, side: int = SIDE, b: int = B, wide: int = WIDE, words: int = WORDS, t: np.ndarray = T) -> Inputs:
    rng = np.random.default_rng(frames)
    z = rng.standard_normal((frames, b, side, side, 4), np.float32)
    empty = np.broadcast_to(rng.standard_normal((words, wide), np.float32), (frames, b, words, wide))
    prompt = np.concatenate([empty, rng.standard_normal((frames, b, words, wide), np.float32)], axis=1)
    picture = rng.uniform(-1, 1, (1, 8 * side, 8 * side, 3)).astype(np.float32)
    return Inputs(np.concatenate([z, z], axis=1), np.concatenate([t, t]), prompt, picture)


def ours(config: Any, params: Any, given: Inputs, with_control: bool, run: Callable[..., Any]) -> np.ndarray:
    frames, batch, words = given.prompt.shape[:3]
    added = config.layered.layer_attention
    unread = np.zeros((frames, batch, words), bool)
    role = np.array([Role[frame.upper()] for frame in added.frames], np.int32)
    layers = LayerContext(role=role, valid=np.ones((frames, batch), bool), prompt=given.prompt, own=unread, span=unread)
    if with_control:
        control = run(Control(config.unet, added).apply, {"params": params["control"]}, given.picture_pm1)
        layers = layers.replace(control=jax.tree.map(lambda c: jnp.broadcast_to(c, (frames, batch, *c.shape[2:])), control))
    return np.asarray(run(lambda params, *args: predict(config, params, *args).sample, params["unet"], given.z, given.t, layers))


@pytest.fixture(scope="module")
def reference() -> Reference:
    torch.manual_seed(0)
    return Reference(
        UNet2DConditionModel(
            block_out_channels=UNET.block_out_channels, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1, attention_head_dim=HEADS, cross_attention_dim=WIDE, norm_num_groups=8,
        )
    )  # fmt: skip


@pytest.fixture
def compared(reference, plain_model, randomise, layer_attention_file, tmp_path, run) -> Callable[..., float]:
    """The largest relative difference between ours and the reference's."""

    def compare(
        kind: str, with_control: bool = False, dtype: Any = np.float32, misread: Callable[[dict], dict] = lambda tensors: tensors
    ) -> float:
        randomise(reference.unet)
        tensors = layer_attention_file(UNET, kind, dtype=dtype)
        save_file(misread(tensors), tmp_path / f"layer_sd15_{kind}.safetensors")
        config = dataclasses.replace(
            plain_model.config, unet=UNET, layered=LayeredConfig(context_map=False, guided=False, foreground_kv=False)
        )
        given = inputs(len(FRAMES[kind]))
        shapes = jax.eval_shape(UNet2DCondition(UNET).init, jax.random.key(0), given.z[0], given.t, given.prompt[0])["params"]
        base = {key: value.numpy() for key, value in reference.unet.state_dict().items()}
        config, params = add_layer_attention(config, {"unet": to_params(base, shapes)}, tmp_path / f"layer_sd15_{kind}.safetensors")
        expected = reference(tensors, len(FRAMES[kind]), given.z, given.t, given.prompt, given.picture_pm1 if with_control else None)
        return np.abs(ours(config, params, given, with_control, run) - expected).max() / np.sqrt(np.mean(expected**2))

    return compare


@pytest.mark.parametrize(("kind", "with_control"), [("transparent_attn", False), ("bg2fg", True), ("joint", False)])
def test_two_scenes_both_halves(kind, with_control, compared) -> None:
    assert compared(kind, with_control) <= 1e-4


def test_the_middle_block_is_last(compared) -> None:
    """Another order fits by its shapes and is wrong: the test above would see it."""

    def middle_before_up(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        moved = {0: 0, 1: 1, 2: 4, 3: 5, 4: 6, 5: 7, 6: 2, 7: 3}
        return {re.sub(r"(?<=layers\.)\d+", lambda i: str(moved[int(i[0])]), key): value for key, value in tensors.items()}

    assert compared("transparent_attn", misread=middle_before_up) > 1e-2


@pytest.mark.slow
def test_at_full_size(tmp_path, layer_attention_file, plain_model) -> None:
    """bg2fg steered by a picture, Stable Diffusion 1.5's UNet, 64×64 latents; both memory and time are PyTorch's for the most part."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    unet = unet.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            parameter.normal_(generator=generator)
            if parameter.ndim > 1:
                parameter.mul_(parameter[0].numel() ** -0.5)
            else:
                parameter.mul_(0.3).add_(1.0 if name.endswith("weight") else 0.0)
    full = UNetConfig()
    file = tmp_path / "layer_sd15_bg2fg.safetensors"
    save_file(layer_attention_file(full, "bg2fg", rank=256, widths=(32, 64, 128, 256), dtype=np.float16), file)
    assert len(load_safetensors(file)) == 1180  # as the published file has
    given = inputs(2, side=64, b=1, wide=768, words=77, t=np.array([500]))
    given = dataclasses.replace(given, z=given.z[:, 1:], t=given.t[1:], prompt=given.prompt[:, 1:])
    tensors = {key: np.asarray(value) for key, value in load_safetensors(file).items()}
    assert sum(value.size for value in tensors.values()) == 281_425_568
    expected = Reference(unet)(tensors, 2, given.z, given.t, given.prompt, given.picture_pm1)
    del tensors
    config = dataclasses.replace(plain_model.config, unet=full, layered=LayeredConfig(context_map=False, guided=False, foreground_kv=False))
    shapes = jax.eval_shape(UNet2DCondition(full).init, jax.random.key(0), given.z[0], given.t, given.prompt[0])["params"]
    fitted = fit({key: value.numpy() for key, value in unet.state_dict().items()}, shapes)
    base = {"unet": read(fitted, put=jax.device_put)}
    del fitted, unet
    config, params = add_layer_attention(config, base, file)
    optimised = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    error = np.abs(ours(config, params, given, True, lambda function, *args: optimised(function)(*args)) - expected).max()
    error /= np.sqrt(np.mean(expected**2))
    log.info("UNet with bg2fg and its picture, 64x64 latents, two frames: %.1e", error)
    assert error <= 1e-4


def test_each_frames_kernels_are_its_own_and_without_them_it_is_stable_diffusion(
    reference, plain_model, randomise, layer_attention_file, tmp_path, run
) -> None:
    """With up = 0 and an exchange that says nothing; then with up of one frame alone."""
    randomise(reference.unet)
    reference.unet.set_attn_processor(AttnProcessor())
    quiet = layer_attention_file(UNET, "joint")
    one = {key: value for key, value in quiet.items() if re.search(r"_lora\.1\.up\.", key)}
    quiet |= {key: np.zeros_like(value) for key, value in quiet.items() if ".up." in key or "temporal_o" in key}
    config = dataclasses.replace(plain_model.config, unet=UNET, layered=LayeredConfig(context_map=False, guided=False, foreground_kv=False))
    given = inputs(3)
    shapes = jax.eval_shape(UNet2DCondition(UNET).init, jax.random.key(0), given.z[0], given.t, given.prompt[0])["params"]
    base = {"unet": to_params({key: value.numpy() for key, value in reference.unet.state_dict().items()}, shapes)}
    made = []
    for tensors in (quiet, quiet | one):
        save_file(tensors, tmp_path / "layer_sd15_joint.safetensors")
        made.append(ours(*add_layer_attention(config, base, tmp_path / "layer_sd15_joint.safetensors"), given, False, run))
    z, prompt = (torch.from_numpy(np.ascontiguousarray(x)).flatten(0, 1) for x in (given.z, given.prompt))
    with torch.no_grad():
        plain = reference.unet(z.permute(0, 3, 1, 2), torch.from_numpy(np.tile(given.t, 3)), prompt).sample
    expected = plain.permute(0, 2, 3, 1).reshape(given.z.shape).numpy()
    assert np.abs(made[0] - expected).max() <= 1e-4 * np.sqrt(np.mean(expected**2))
    np.testing.assert_array_equal(made[1][[0, 2]], made[0][[0, 2]])
    assert np.abs(made[1][1] - made[0][1]).max() > 1e-2
