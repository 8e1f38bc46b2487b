"""Which kernel does the attention, by the platform that a program is lowered for: seen from a machine that has neither GPU nor TPU."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.attention.core import attention, cudnn_takes
from dreamlayer_jax.config import LayeredConfig, UNetConfig, sd15
from dreamlayer_jax.diffusion.predict import predict
from dreamlayer_jax.layer_axis import LayerContext, roles
from dreamlayer_jax.models.unet import UNet2DCondition
from dreamlayer_jax.place import Place

LAYERS = 4
SELF = {"64×64": (4096, 40), "32×32": (1024, 80), "16×16": (256, 160), "middle, 8×8": (64, 160)}
SHAPES = {
    **{f"self {name}": (tokens, tokens, size) for name, (tokens, size) in SELF.items()},
    **{f"cross {name}": (tokens, 77, size) for name, (tokens, size) in SELF.items()},
    **{f"layer-shared {name}": (LAYERS * tokens, LAYERS * tokens, size) for name, (tokens, size) in SELF.items() if tokens > 64},
    "autoencoder": (4096, 4096, 512),
}
"""Queries, keys and the size of a head, of every attention of Stable Diffusion 1.5 at 512×512."""


@pytest.fixture(params=["hopper", "ampere"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """cuDNN's own checks, told of a GPU with cuDNN 9.10."""
    checks = "jax._src.cudnn.fused_attention_stablehlo"
    capability = {"hopper": (9, 0), "ampere": (8, 0)}[request.param]
    monkeypatch.setattr(f"{checks}.check_cudnn_version", lambda: 91002)
    monkeypatch.setattr(f"{checks}.check_compute_capability", lambda least: capability >= tuple(map(int, least.split("."))))
    return request.param


def abstract(queries: int, keys: int, size: int, dtype: Any = jnp.bfloat16) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct((2, length, 8, size), dtype) for length in (queries, keys, keys)]


def lowered(platform: str, *arguments: Any) -> str:
    """The program with its gradient, as it is handed to the platform's compiler."""

    def loss(q: Any, k: Any, v: Any, keep: Any = None) -> Any:
        return attention(q, k, v, keep).astype(jnp.float32).sum()

    return jax.jit(jax.grad(loss, (0, 1, 2))).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("shape", SHAPES)
def test_cudnn_takes_every_head_up_to_256_on_hopper_and_up_to_128_before_it(gpu: str, shape: str) -> None:
    q, k, v = abstract(*SHAPES[shape])
    keep = jax.ShapeDtypeStruct((2, 1, 1, k.shape[1]), bool)
    takes = q.shape[-1] <= {"hopper": 256, "ampere": 128}[gpu]
    assert cudnn_takes(q, k, v, None) is takes
    assert cudnn_takes(q, k, v, keep) is takes
    assert not cudnn_takes(*abstract(*SHAPES[shape], jnp.float32), None)
    jax.eval_shape(attention, q, k, v)


def test_without_cudnn_xla_does_it() -> None:
    assert not cudnn_takes(*abstract(1024, 1024, 80), None)
    assert "__cudnn" not in lowered("cuda", *abstract(1024, 1024, 80))


def test_the_platform_of_lowering_chooses(gpu: str) -> None:
    """This process has only a CPU."""
    wide, narrow = abstract(1024, 1024, 160), abstract(1024, 1024, 80)
    keep = jax.ShapeDtypeStruct((2, 1, 1, 1024), bool)
    assert lowered("cuda", *narrow).count('custom_call @"__cudnn$fmha') + lowered("cuda", *narrow).count("custom_call @__cudnn$fmha") == 2
    assert "__cudnn$fmha" in lowered("cuda", *narrow, keep)
    assert ("__cudnn$fmha" in lowered("cuda", *wide)) is (gpu == "hopper")
    for platform, kernel in {"cpu": None, "rocm": None, "tpu": "tpu_custom_call"}.items():
        text = lowered(platform, *narrow)
        assert "cudnn" not in text
        assert ("tpu_custom_call" in text) is (kernel is not None)
    assert "tpu_custom_call" not in lowered("tpu", *abstract(1024, 77, 80))  # no whole tile of keys


def test_the_layered_network_in_half_precision_is_traced_for_a_gpu(gpu: str) -> None:
    """Heads of 40 and 160 as in Stable Diffusion 1.5, k + 1 = 4, guidance: every attention finds a kernel under the layer axis."""
    config = UNetConfig(block_out_channels=(320, 1280), cross_attention=(True, False), layers_per_block=1)
    layered = LayeredConfig(context_block=0)
    words = jnp.zeros((LAYERS, 2, 77), bool)
    contexts = LayerContext(role=roles(LAYERS), valid=None, prompt=jnp.zeros((LAYERS, 2, 77, 768)), own=words, span=words)
    one = jax.tree.map(lambda x: x[0], contexts)
    z = jax.ShapeDtypeStruct((LAYERS, 2, 64, 64, 4), jnp.float32)
    params = jax.eval_shape(
        lambda: UNet2DCondition(config, layered).init(jax.random.key(0), jnp.zeros(z.shape[1:]), jnp.zeros(2, int), one.prompt, one)
    )["params"]

    run = partial(predict, dataclasses.replace(sd15(), unet=config, layered=layered), layers=contexts, place=Place(dtype=jnp.bfloat16))
    text = jax.jit(lambda p, z: run(p, z, jnp.full(2, 900))).trace(params, z).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__cudnn$fmha") >= {"hopper": 6, "ampere": 5}[gpu]


@pytest.mark.parametrize(("size", "masked"), [(40, True), (160, False)])
def test_the_tpu_kernels_give_what_xla_does(size: int, masked: bool) -> None:
    """By Pallas' interpreter: forward, the log-sum, and gradients, also those of a part of the keys."""
    from jax.experimental.pallas import tpu as pltpu

    from dreamlayer_jax.attention import tpu
    from dreamlayer_jax.attention.core import at_once
    from dreamlayer_jax.attention.ring import _in_tiles, _in_tiles_backward

    rng = np.random.default_rng(0)
    q, k, v, d_out = (jnp.asarray(rng.normal(size=(1, length, 1, size)), jnp.float32) for length in (128, 256, 256, 128))
    keep = jnp.asarray(rng.random((1, 1, 1, 256)) < 0.7) if masked else None
    tiles = {"tile": (64, 64), "in_turn": True}
    close = partial(np.testing.assert_allclose, atol=2e-4, rtol=2e-4)
    with pltpu.force_tpu_interpret_mode():
        out, back = jax.vjp(lambda q, k, v: tpu.flash(q, k, v, keep), q, k, v)
        gradients = back(d_out)
        of_some, log_sum = tpu.flash_with_log_sum(q, k, v, keep)
        delta = (d_out * out).sum(-1)
        of_ring = tpu.flash_backward(q, k, v, keep, log_sum, d_out, delta)
    expected, expected_back = jax.vjp(lambda q, k, v: at_once(q, k, v, keep), q, k, v)
    close(out, expected)
    jax.tree.map(close, gradients, expected_back(d_out))
    jax.tree.map(close, (of_some, log_sum), _in_tiles(q, k, v, keep, **tiles))
    jax.tree.map(close, of_ring, _in_tiles_backward(q, k, v, keep, log_sum, d_out, delta, **tiles))
