"""LoRA files: one set of factors in every grammar gives one model; what is no LoRA of this model is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dreamlayer_jax.config import sd15
from dreamlayer_jax.models.layered import base_shapes, become_layered, copied
from dreamlayer_jax.weights.files.convert import from_params
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.names import modern_key, torch_shape
from dreamlayer_jax.weights.files.original_names import UNET, original_key
from dreamlayer_jax.weights.formats.layer_attention import add_layer_attention
from dreamlayer_jax.weights.formats.lora import merge_lora, open_lora
from dreamlayer_jax.weights.formats.lora_names import kernel_of, module_name

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
MODULES = (  # network, diffusers' name
    ("unet", f"{BLOCK}.attn1.to_q"),
    ("unet", f"{BLOCK}.attn1.to_k"),
    ("unet", f"{BLOCK}.attn2.to_v"),
    ("unet", f"{BLOCK}.attn2.to_out.0"),
    ("unet", f"{BLOCK}.ff.net.0.proj"),
    ("unet", f"{BLOCK}.ff.net.2"),
    ("unet", "mid_block.attentions.0.proj_in"),  # a 1×1 convolution
    ("unet", "down_blocks.0.downsamplers.0.conv"),  # stride 2
    ("unet", "up_blocks.0.resnets.0.conv1"),
    ("unet", "up_blocks.0.resnets.0.conv_shortcut"),
    ("unet", "up_blocks.0.resnets.1.time_emb_proj"),
    ("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
    ("text_encoder", "text_model.encoder.layers.1.self_attn.out_proj"),
    ("text_encoder", "text_model.encoder.layers.1.mlp.fc2"),
)
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "out_proj")
Tensors = dict[str, np.ndarray]
Module = tuple[str, str]


@pytest.fixture(scope="module")
def params(plain_model) -> dict[str, Any]:
    return become_layered(plain_model.config, plain_model.params)


@pytest.fixture(scope="module")
def factors(plain_model) -> dict[Module, tuple[np.ndarray, np.ndarray, float]]:
    """down, up and alpha of each module, of mixed ranks, in PyTorch's layout."""
    rng = np.random.default_rng(1)
    flat = flatten_dict(plain_model.params)
    made = {}
    for i, (network, name) in enumerate(MODULES):
        path = kernel_of(name, plain_model.config)
        outputs, inputs, *window = torch_shape(path, flat[path].shape)
        rank = 1 + i % 3
        down = rng.standard_normal((rank, inputs, *window), np.float32)
        up = rng.standard_normal((outputs, rank, *(1 for _ in window)), np.float32)
        made[network, name] = (down, up, (0.37, rank, 4.0)[i % 3])
    return made


@pytest.fixture(scope="module")
def expected(plain_model, params, factors) -> dict[tuple[str, ...], np.ndarray]:
    """The merged kernels that are not the model's own, by the formula, with their foregrounds' copies."""
    flat = {path: np.asarray(leaf) for path, leaf in flatten_dict(params).items()}
    changed = {}
    for (_, name), (down, up, alpha) in factors.items():
        rank = len(down)
        change = alpha / rank * np.einsum("or, ri... -> ...io", up.reshape(-1, rank), down)
        base = kernel_of(name, plain_model.config)
        changed |= {path: leaf + change for path, leaf in flat.items() if copied(path) == base}
    return changed


def kohya(factors: Mapping[Module, Any], text: str = "lora_te_") -> Tensors:
    tensors = {}
    for (network, name), (down, up, alpha) in factors.items():
        module = ("lora_unet_" if network == "unet" else text) + name.replace(".", "_")
        tensors |= {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up, f"{module}.alpha": np.array(alpha, np.float32)}
    return tensors


def originally_named(factors: Mapping[Module, Any], config: Any) -> Tensors:
    def name_of(network: str, name: str) -> str:
        return original_key(f"unet.{name}.weight", config).removeprefix(UNET).removesuffix(".weight") if network == "unet" else name

    return kohya({(network, name_of(network, name)): value for (network, name), value in factors.items()}, text="lora_te1_")


def scaled(factors: Mapping[Module, Any]) -> dict[Module, tuple[np.ndarray, np.ndarray]]:
    """The factors of files that know no alpha."""
    return {module: (down, np.float32(alpha / len(down)) * up) for module, (down, up, alpha) in factors.items()}


def peft(factors: Mapping[Module, Any], between: str = "", prefix: Mapping[str, str] | None = None) -> Tensors:
    prefix = prefix or {"unet": "unet.", "text_encoder": "text_encoder."}
    return {
        f"{prefix[network]}{name}.lora_{part}{between}.weight": tensor
        for (network, name), pair in scaled(factors).items()
        for part, tensor in zip("AB", pair, strict=True)
    }


def older_diffusers(factors: Mapping[Module, Any], style: str) -> Tensors:
    """`style`: "processor" (attention processors), or "layer" (LoRA-compatible layers)."""
    tensors = {}
    for (network, name), pair in scaled(factors).items():
        parent, _, last = name.removesuffix(".0").rpartition(".")
        if style == "layer" or not name.endswith(ATTENTION):
            module = f"{name}.lora" if network == "unet" else f"{name}.lora_linear_layer"
        elif network == "unet":
            module = f"{parent}.processor.{last}_lora"
        else:
            module = f"{parent}.to_{last.removesuffix('_proj')}_lora"
        tensors |= {f"{network}.{module}.{part}.weight": tensor for part, tensor in zip(("down", "up"), pair, strict=True)}
    return tensors


def peft_metadata(factors: Mapping[Module, Any], **fields: Any) -> dict[str, str]:
    """As diffusers writes it; the factors are then not scaled."""
    tree = {}
    for network in ("unet", "text_encoder"):
        own = {name: (len(down), alpha) for (where, name), (down, _, alpha) in factors.items() if where == network}
        configuration = {
            "r": 1,
            "lora_alpha": 4.0,
            "rank_pattern": {name: rank for name, (rank, _) in own.items()},
            "alpha_pattern": {name: alpha for name, (_, alpha) in own.items() if alpha != 4.0},
            "use_rslora": False,
            "use_dora": False,
            "init_lora_weights": True,
            "target_modules": list(own),
        }
        tree |= {f"{network}.{field}": value for field, value in (configuration | fields).items()}
    return {"lora_adapter_metadata": json.dumps(tree)}


def unscaled_peft(factors: Mapping[Module, Any]) -> Tensors:
    return peft({module: (down, up, len(down)) for module, (down, up, _) in factors.items()})


def assert_merged(merged: dict[str, Any], params: dict[str, Any], expected: Mapping[tuple[str, ...], np.ndarray]) -> None:
    """`expected` where it says something, and the model's own arrays, not copies, everywhere else."""
    found = flatten_dict(merged)
    for path, leaf in flatten_dict(params).items():
        if path in expected:
            np.testing.assert_allclose(found[path], expected[path], rtol=1e-5, atol=1e-5, err_msg=str(path))
        else:
            assert found[path] is leaf, path


def merged(tensors: Tensors, plain_model, params: dict[str, Any], file: Path, strength: float = 1.0, metadata: Any = None) -> Any:
    save_file(tensors, file, metadata=metadata)
    return merge_lora(params, open_lora(file, plain_model.config), strength)


GRAMMARS = {
    "kohya": lambda factors, _: kohya(factors),
    "kohya, text tower lora_te1": lambda factors, _: kohya(factors, text="lora_te1_"),
    "kohya, original names": originally_named,
    "peft": lambda factors, _: peft(factors),
    "peft, adapter named": lambda factors, _: peft(factors, between=".default"),
    "peft, bare": lambda factors, _: peft(factors, prefix=dict.fromkeys(("unet", "text_encoder"), "base_model.model.")),
    "peft, no prefix": lambda factors, _: peft(factors, prefix=dict.fromkeys(("unet", "text_encoder"), "")),
    "older diffusers, processors": lambda factors, _: older_diffusers(factors, "processor"),
    "older diffusers, layers": lambda factors, _: older_diffusers(factors, "layer"),
}


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_every_grammar_gives_the_same_model(plain_model, params, factors, expected, tmp_path: Path, grammar: str) -> None:
    tensors = GRAMMARS[grammar](factors, plain_model.config)
    assert_merged(merged(tensors, plain_model, params, tmp_path / "style.safetensors"), params, expected)


def test_the_foregrounds_copies_are_among_what_changes(expected) -> None:
    assert {path[-2] for path in expected} >= {"to_k", "to_k_foreground", "to_v", "to_v_foreground"}


def test_alpha_of_pefts_configuration(plain_model, params, factors, expected, tmp_path: Path) -> None:
    tensors = unscaled_peft(factors)
    with_metadata = merged(tensors, plain_model, params, tmp_path / "a.safetensors", metadata=peft_metadata(factors))
    assert_merged(with_metadata, params, expected)

    rooted = {name: alpha / len(down) ** 0.5 for (network, name), (down, _, alpha) in factors.items() if network == "unet"}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 1, "alpha_pattern": rooted, "use_rslora": True}))
    unet = {key.replace("unet.", "base_model.model."): tensor for key, tensor in tensors.items() if key.startswith("unet.")}
    only_unet = {path: leaf for path, leaf in expected.items() if path[0] == "unet"}
    assert_merged(merged(unet, plain_model, params, tmp_path / "adapter_model.safetensors"), params, only_unet)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (0.0, 1.0), (2.0, 1.0), (0.375, 0.1875)])
def test_alpha_and_strength(plain_model, params, tmp_path: Path, dtype: Any, alpha: float | None, scale: float) -> None:
    rng = np.random.default_rng(2)
    path = kernel_of(f"{BLOCK}.attn1.to_q", plain_model.config)
    kernel = flatten_dict(params)[path]
    down, up = (rng.standard_normal(shape).astype(dtype) for shape in ((2, kernel.shape[0], 1, 1), (kernel.shape[1], 2, 1, 1)))
    module = "lora_unet_" + f"{BLOCK}.attn1.to_q".replace(".", "_")
    tensors = {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
    tensors |= {} if alpha is None else {f"{module}.alpha": np.array(alpha, dtype)}
    file = tmp_path / "style.safetensors"
    once = merged(tensors, plain_model, params, file)
    change = scale * (up[..., 0, 0].astype(np.float32) @ down[..., 0, 0].astype(np.float32)).T
    assert_merged(once, params, {path: kernel + change})
    lora = open_lora(file, plain_model.config)
    assert_merged(merge_lora(params, lora, 0.0), params, {path: kernel})
    assert_merged(merge_lora(params, lora, -0.5), params, {path: kernel - 0.5 * change})
    restored = flatten_dict(merge_lora(once, lora, -1.0))[path]
    np.testing.assert_allclose(restored, kernel, atol=4e-7 * np.abs(change).max())


@pytest.mark.parametrize("name", ["down_blocks.0.downsamplers.0.conv", "up_blocks.0.resnets.0.conv1"])
def test_convolutions_against_down_then_up(plain_model, params, factors, tmp_path: Path, name: str) -> None:
    """The changed convolution gives what the base gives, plus down and then up as two convolutions of their own."""
    down, up, alpha = factors["unet", name]
    stride = 2 if "downsamplers" in name else 1
    new = merged(kohya({("unet", name): factors["unet", name]}), plain_model, params, tmp_path / "style.safetensors")
    x = torch.from_numpy(np.random.default_rng(3).standard_normal((2, down.shape[1], 6, 6), np.float32))

    def convolved(tree: Any) -> torch.Tensor:
        weight = torch.from_numpy(from_params({"unet": tree["unet"]})[f"unet.{name}.weight"])
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=1)

    apart = torch.nn.functional.conv2d(
        torch.nn.functional.conv2d(x, torch.from_numpy(down), stride=stride, padding=1), torch.from_numpy(up)
    )
    np.testing.assert_allclose(convolved(new), convolved(params) + alpha / len(down) * apart, rtol=1e-4, atol=1e-4)


def test_tucker(plain_model, params, tmp_path: Path) -> None:
    """Three factors: 1×1 down, 3×3 in the middle, 1×1 up; as three convolutions."""
    rng = np.random.default_rng(4)
    name = "up_blocks.0.resnets.0.conv1"
    path = kernel_of(name, plain_model.config)
    *_, inputs, outputs = flatten_dict(params)[path].shape
    shapes = {"down": (2, inputs, 1, 1), "mid": (3, 2, 3, 3), "up": (outputs, 3, 1, 1)}
    parts = {part: rng.standard_normal(shape, np.float32) for part, shape in shapes.items()}
    tensors = {f"lora_unet_{name.replace('.', '_')}.lora_{part}.weight": tensor for part, tensor in parts.items()}
    tensors[f"lora_unet_{name.replace('.', '_')}.alpha"] = np.float32([0.5])  # the rank is down's rows, 2
    new = flatten_dict(merged(tensors, plain_model, params, tmp_path / "style.safetensors"))[path]
    x = torch.from_numpy(rng.standard_normal((1, inputs, 5, 5), np.float32))
    y = torch.nn.functional.conv2d(x, torch.from_numpy(parts["down"]))
    y = torch.nn.functional.conv2d(y, torch.from_numpy(parts["mid"]), padding=1)
    y = torch.nn.functional.conv2d(y, torch.from_numpy(parts["up"]))
    change = torch.from_numpy(np.moveaxis(np.asarray(new) - np.asarray(flatten_dict(params)[path]), (-1, -2), (0, 1)).copy())
    np.testing.assert_allclose(torch.nn.functional.conv2d(x, change, padding=1), 0.25 * y, rtol=1e-4, atol=1e-4)


def test_full_size_names() -> None:
    """kohya's usual set is the 192 modules in transformers; residual blocks and samplers make it the 278 of the distilled LoRAs."""
    config = sd15()
    known = {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": ("down_blocks_1", "attentions_0"),
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj": ("up_blocks_3", "attentions_2"),
        "lora_unet_input_blocks_7_1_transformer_blocks_0_attn2_to_out_0": ("down_blocks_2", "attentions_0"),
        "lora_unet_input_blocks_1_0_in_layers_2": ("down_blocks_0", "resnets_0"),
        "lora_unet_output_blocks_3_0_skip_connection": ("up_blocks_1", "resnets_0"),
        "lora_unet_middle_block_1_proj_in": ("mid_block", "attentions_0"),
        "lora_te1_text_model_encoder_layers_11_mlp_fc2": ("text_model", "encoder"),
    }
    assert {module: kernel_of(module, config)[1:3] for module in known} == known
    assert kernel_of("lora_unet_down_blocks_4_attentions_0_proj_in", config) is None
    kernels = [path for path in flatten_dict(base_shapes(config)) if path[-1] == "kernel"]
    names = [module_name(path) for path in kernels if path[0] == "unet"]
    assert len(names) == len({name.replace(".", "_") for name in names}) == 282
    assert sum("attentions" in name for name in names) == 192
    assert sum("attentions" in name or "resnets" in name or "samplers" in name for name in names) == 278
    assert sum(path[0] == "text_encoder" for path in kernels) == 72


@pytest.mark.parametrize("kind", ["kohya", "peft with metadata"])
def test_diffusers_and_peft_agree(plain_model, params, factors, tmp_path: Path, kind: str) -> None:
    """`load_lora_weights` and `fuse_lora` of a pipeline of PyTorch networks, at strength 0.7.

    Of a kohya file with several alphas diffusers 0.42 takes the most frequent for all (its patterns name no module), so there is one here.
    """
    from diffusers import StableDiffusionPipeline

    file = tmp_path / "style.safetensors"
    if kind == "kohya":
        save_file(kohya({module: (down, up, 4.0) for module, (down, up, _) in factors.items()}), file)
    else:
        as_transformers_5 = {(network, name.removeprefix("text_model.")): value for (network, name), value in factors.items()}
        save_file(unscaled_peft(as_transformers_5), file, metadata=peft_metadata(as_transformers_5))
    pipe = StableDiffusionPipeline.from_pretrained(plain_model.folder, local_files_only=True)
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    pipe.fuse_lora(lora_scale=0.7)
    pipe.unload_lora_weights()
    before, ours = (from_params({network: tree[network] for network in ("unet", "text_encoder")}) for tree in (
        params, merge_lora(params, open_lora(file, plain_model.config), 0.7)
    ))  # fmt: skip
    compared, changed = 0, 0
    for network, module in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder)):
        for name, tensor in module.state_dict().items():
            key = f"{network}.{modern_key(name)}"
            np.testing.assert_allclose(ours[key], tensor.numpy(), rtol=1e-5, atol=1e-5, err_msg=key)
            compared += 1
            changed += not np.allclose(before[key], ours[key])
    assert compared == sum("foreground" not in key and "context_maps" not in key for key in ours)
    assert changed == len(factors)


def test_the_kernels_of_every_role_change(plain_model, params, factors, layer_attention_file, tmp_path: Path) -> None:
    """LayerDiffusion's attention for all three roles, with the LoRA merged in before it and after it."""
    config = plain_model.config
    attention = tmp_path / "layer_sd15_joint.safetensors"
    save_file({key: np.ascontiguousarray(tensor) for key, tensor in layer_attention_file(config.unet, "joint").items()}, attention)
    save_file(kohya(factors), tmp_path / "style.safetensors")
    lora = open_lora(tmp_path / "style.safetensors", config)
    _, plain = add_layer_attention(config, params, attention)
    _, lora_first = add_layer_attention(config, merge_lora(params, lora), attention)
    flat, after = flatten_dict(plain), flatten_dict(merge_lora(plain, lora))
    assert after.keys() == flat.keys() == flatten_dict(lora_first).keys()
    for path, leaf in flatten_dict(lora_first).items():
        np.testing.assert_allclose(after[path], leaf, rtol=1e-5, atol=1e-5, err_msg=str(path))
    changed = {path[-2] for path in flat if flat[path] is not after[path]}
    roles = ("foreground", "background", "global")
    assert {f"to_q_{role}" for role in roles} | {"to_q"} <= changed
    assert {f"to_out_0_{role}" for role in roles} <= changed


def to(key: str, *shape: int) -> Tensors:
    return {key: np.ones(shape, np.float32)}


Q = "lora_unet_" + f"{BLOCK}.attn1.to_q".replace(".", "_")
REFUSED = [
    (to(f"{Q}.hada_w1_a", 2, 2), {}, "it is a LyCORIS LoHa; only LoRA and LoCon are read"),
    (to(f"{Q}.lokr_w2_b", 2, 2), {}, "it is a LyCORIS LoKr; only"),
    (to(f"{Q}.diff", 2, 2), {}, "a LyCORIS file of full differences"),
    (to(f"{Q}.w_norm", 2), {}, "a LyCORIS file of full differences"),
    (to(f"{Q}.on_input", 1), {}, "a LyCORIS IA3"),
    (to(f"{Q}.oft_blocks", 1), {}, "an OFT"),
    (to(f"{Q}.a1.weight", 1), {}, "a LyCORIS GLoRA"),
    (to(f"{Q}.dora_scale", 1), {}, "a DoRA, on whose norm"),
    (to("unet.x.lora_magnitude_vector", 1), {}, "a DoRA, on whose norm"),
    (to("unet.x.to_q.lora_B.bias", 1), {}, "a LoRA with biases"),
    (to("bundle_emb.word.string_to_param.*", 1, 12), {}, "a LoRA with a textual inversion in it .*give it as an embedding"),
    (to("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 2, 4), {}, "this is Stable Diffusion XL"),
    (to("lora_unet_x_attn2_to_k.lora_down.weight", 2, 2048), {}, "this is Stable Diffusion XL"),
    (to("unet.x.attn2.to_k.lora_A.weight", 2, 1024), {}, "this is Stable Diffusion 2.x"),
    (to("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", 2, 4), {}, "diffusion transformer"),
    (to("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", 2, 4), {}, "diffusion transformer"),
    (to("lora_unet_x.lora_down.weight", 2, 4), {"ss_base_model_version": "sdxl_base_v1-0"}, "this is Stable Diffusion XL"),
    (to("lora_unet_x.lora_down.weight", 2, 4), {"modelspec.architecture": "flux-1-dev/lora"}, "diffusion transformer"),
    (to("diffusion_model.input_blocks.4.1.attn1.to_q.weight::lora::0", 2, 4), {}, "LayerDiffusion's attention for Stable Diffusion XL"),
    (to("unet.conv_in.weight", 2, 4), {}, "is no LoRA: it has none of a LoRA's keys"),
    (to("unet.x.lora_A.weight", 2, 4), {}, "check that it is one for Stable Diffusion 1.x"),
]  # fmt: skip


@pytest.mark.parametrize(("tensors", "metadata", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_what_is_refused(plain_model, tmp_path: Path, tensors: Tensors, metadata: dict[str, str], message: str) -> None:
    save_file(tensors, tmp_path / "style.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        open_lora(tmp_path / "style.safetensors", plain_model.config)
    assert "style.safetensors" in str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "use_dora is true: it is a DoRA"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights is 'pissa_niter_16', which changes the base's own weights"),
        ({"lora_alpha": "much"}, "lora_alpha and alpha_pattern must be numbers"),
        ({"alpha_pattern": {"(a|b)+": 2}}, r"alpha_pattern has '\(a\|b\)\+', a regular expression"),
    ],
)
def test_refused_configurations(plain_model, factors, tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    save_file(unscaled_peft(factors), tmp_path / "style.safetensors", metadata=peft_metadata(factors, **fields))
    with pytest.raises(WeightsError, match=message):
        open_lora(tmp_path / "style.safetensors", plain_model.config)


def test_everything_that_does_not_fit_in_one_error(plain_model, factors, tmp_path: Path) -> None:
    tensors = kohya(factors)
    of = {name: "lora_unet_" + name.replace(".", "_") for _, name in MODULES}
    conv, proj_in = of["up_blocks.0.resnets.0.conv1"], of["mid_block.attentions.0.proj_in"]
    del tensors[f"{conv}.lora_up.weight"]
    tensors[f"{Q}.lora_down.weight"] = np.ones((2, 5), np.float32)
    tensors["lora_unet_up_blocks_9_proj_in.lora_down.weight"] = np.ones((2, 5), np.float32)
    tensors["lora_unet_up_blocks_9_proj_in.something"] = np.ones(1, np.float32)
    tensors["unet.mid_block.attentions.0.proj_in.lora_A.weight"] = np.ones((1, 20), np.float32)
    save_file(tensors, tmp_path / "style.safetensors")
    with pytest.raises(WeightsError) as caught:
        open_lora(tmp_path / "style.safetensors", plain_model.config)
    up = tensors[f"{Q}.lora_up.weight"].shape
    said = str(caught.value).splitlines()
    assert said[0] == f"the LoRA {tmp_path / 'style.safetensors'} does not fit this model; check that it is one for Stable Diffusion 1.x"
    assert set(said[1:]) == {
        "in no grammar of LoRA files (1):",
        "  lora_unet_up_blocks_9_proj_in.something",
        "of modules that the model does not have (1):",
        "  lora_unet_up_blocks_9_proj_in",
        "twice (1):",
        f"  {proj_in}" if f"  {proj_in}" in said else "  unet.mid_block.attentions.0.proj_in",
        "down without up, or up without down (1):",
        f"  {conv}: it has {conv}.alpha, {conv}.lora_down.weight",
        "of another shape (1):",
        f"  {Q}: the file has alpha (), down (2, 5), up {up}, the model (12, 12)",
    }


def test_the_cause_comes_alone_and_all_keys_on_request(plain_model, tmp_path: Path) -> None:
    keys = [f"lora_te2_text_model_encoder_layers_{i}_mlp_fc1.lora_down.weight" for i in range(300)]
    save_file({key: np.ones((2, 4), np.float32) for key in keys}, tmp_path / "xl.safetensors")
    with pytest.raises(WeightsError) as caught:
        open_lora(tmp_path / "xl.safetensors", plain_model.config)
    assert len(str(caught.value).splitlines()) == 1
    assert "300 keys do not fit; all of them: --all-keys" in str(caught.value)
    assert all(key.removesuffix(".lora_down.weight") in caught.value.all_keys for key in keys)


def test_a_text_tower_alone_is_a_lora(plain_model, params, factors, expected, tmp_path: Path) -> None:
    text = {module: value for module, value in factors.items() if module[0] == "text_encoder"}
    assert_merged(
        merged(kohya(text), plain_model, params, tmp_path / "style.safetensors"),
        params,
        {path: leaf for path, leaf in expected.items() if path[0] == "text_encoder"},
    )


def test_a_damaged_file_and_a_pickle(plain_model, factors, tmp_path: Path) -> None:
    save_file(kohya(factors), tmp_path / "style.safetensors")
    (tmp_path / "style.safetensors").write_bytes((tmp_path / "style.safetensors").read_bytes()[:-9])
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        open_lora(tmp_path / "style.safetensors", plain_model.config)
    (tmp_path / "style.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="is a pickle"):
        open_lora(tmp_path / "style.pt", plain_model.config)
