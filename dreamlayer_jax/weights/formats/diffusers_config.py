"""Configurations between the JSON files of a diffusers folder and ours.

What the networks here do not have is refused by name: a folder that asks for it would load and give other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamlayer_jax.config import DreamLayerConfig, LayerDecoderConfig, LayeredConfig, ScheduleConfig, TextConfig, UNetConfig, VAEConfig
from dreamlayer_jax.strict_json import SchemaError, from_tree, read_json
from dreamlayer_jax.weights.files.causes import EDITING, SD2, SDXL
from dreamlayer_jax.weights.files.errors import WeightsError

# What every field that the networks here have no choice for must be, where a file has the field.
UNET = {
    "act_fn": "silu",
    "addition_embed_type": None,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
VAE = {
    "act_fn": "silu",
    "in_channels": 3,
    "latents_mean": None,
    "latents_std": None,
    "out_channels": 3,
    "shift_factor": None,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "rescale_betas_zero_snr": False,
    "thresholding": False,
    "trained_betas": None,
}
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
MAX_SAMPLE_SIZE = 1024
HEADS = "attention_head_dim"  # the number of heads: diffusers' own spelling in Stable Diffusion's files


def config_of_folder(folder: Path, name: str) -> DreamLayerConfig:
    """The configuration that `unet/`, `vae/`, `text_encoder/` and `scheduler/` of a diffusers folder describe.

    Raises `WeightsError` for a missing or damaged file, for other kinds of models (SDXL, Stable Diffusion 2.x, InstructPix2Pix), and for
    what the networks here do not have.
    """
    unet_json = _read(folder / "unet" / "config.json")
    _refuse_other_models(folder, unet_json)
    unet, vae = _unet(folder / "unet" / "config.json", unet_json), _vae(folder / "vae" / "config.json")
    text, schedule = _text(folder / "text_encoder" / "config.json"), _schedule(folder / "scheduler" / "scheduler_config.json")
    if unet.cross_attention_dim != text.hidden_size:
        raise WeightsError(f"{folder}: the UNet takes prompts {unet.cross_attention_dim} wide, the text encoder gives {text.hidden_size}")
    return DreamLayerConfig(
        name=name,
        sample_size=_sample_size(folder / "unet" / "config.json", unet_json) * vae.downscale,
        unet=unet,
        vae=vae,
        text=text,
        layer_decoder=LayerDecoderConfig(latent_channels=vae.latent_channels),
        schedule=schedule,
        layered=LayeredConfig(context_block=max(i for i, cross in enumerate(unet.cross_attention) if cross)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict[str, Any])
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing; a diffusers folder has unet/ vae/ text_encoder/ tokenizer/ scheduler/") from None
    except (SchemaError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}); download or copy it again") from error


def _sample_size(path: Path, unet: Mapping[str, Any]) -> int:
    """In latents."""
    found = unet.get("sample_size") or 64
    if type(found) is not int or not 1 <= found <= MAX_SAMPLE_SIZE:
        raise WeightsError(f"{path}: sample_size is {found!r}; expected is a whole number of 1 to {MAX_SAMPLE_SIZE}")
    return found


def _refuse_other_models(folder: Path, unet: Mapping[str, Any]) -> None:
    causes = (
        ((folder / "text_encoder_2").exists() or unet.get("addition_embed_type") == "text_time", SDXL),
        (unet.get("in_channels") == 8, EDITING),
        (unet.get("cross_attention_dim") == 1024, SD2),
    )
    for recognised, cause in causes:
        if recognised:
            raise WeightsError(f"{folder} cannot be used: {cause}")


def _unet(path: Path, tree: Mapping[str, Any]) -> UNetConfig:
    _fixed(path, tree, UNET)
    kinds = tree.get("down_block_types")
    if not isinstance(kinds, list) or CROSS not in kinds or not all(kind in (CROSS, PLAIN) for kind in kinds):
        raise WeightsError(f"{path}: down_block_types is {kinds}; the networks here have {CROSS} and {PLAIN}")
    mirrored = [CROSS_UP if kind == CROSS else PLAIN_UP for kind in reversed(kinds)]
    if tree.get("up_block_types") != mirrored:
        raise WeightsError(f"{path}: up_block_types is {tree.get('up_block_types')}; to these down blocks belong {mirrored}")
    fields = ("in_channels", "out_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "norm_num_groups")
    optional = ("transformer_layers_per_block", "use_linear_projection")
    return _made(UNetConfig, path, tree, fields, optional, cross_attention=[kind == CROSS for kind in kinds], num_attention_heads=HEADS)


def _vae(path: Path) -> VAEConfig:
    tree = _read(path)
    channels = tree.get("block_out_channels")
    levels = len(channels) if isinstance(channels, list) else 0
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    _fixed(path, tree, VAE | blocks)
    fields = ("latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups")
    return _made(VAEConfig, path, tree, fields, ("mid_block_add_attention", "scaling_factor"))


def _text(path: Path) -> TextConfig:
    from transformers import CLIPTextConfig  # brings PyTorch along where that is installed

    try:
        tree = CLIPTextConfig.from_dict(_read(path)).to_dict()
    except WeightsError:
        raise
    except Exception as error:  # transformers validates, and raises kinds of its own
        raise WeightsError(f"{path} is damaged ({' '.join(str(error).split())}); download or copy it again") from error
    return _made(TextConfig, path, tree, tuple(TextConfig.__dataclass_fields__))


def _schedule(path: Path) -> ScheduleConfig:
    """What is absent is as in DDIMScheduler, which the sampler here is; but latents are never clipped."""
    tree = {"steps_offset": 0, "set_alpha_to_one": True, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02} | _read(path)
    _fixed(path, tree, SCHEDULER)
    return _made(ScheduleConfig, path, tree, (), tuple(ScheduleConfig.__dataclass_fields__))


def _fixed(path: Path, tree: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for field, value in wanted.items():
        if field in tree and tree[field] != value:
            raise WeightsError(f"{path}: {field} is {tree[field]!r}; the networks here have {value!r} only")


def _made(kind: type, path: Path, tree: Mapping[str, Any], fields: tuple[str, ...], optional: tuple[str, ...] = (), **other: Any) -> Any:
    """`kind` out of the JSON fields of the same names; a string in `other` is the name of the field to take."""
    absent = [field for field in (*fields, *(v for v in other.values() if isinstance(v, str))) if field not in tree]
    if absent:
        raise WeightsError(f"{path}: the fields {absent} are missing; download or copy it again")
    values = {field: tree[field] for field in (*fields, *optional) if field in tree}
    values |= {field: tree[value] if isinstance(value, str) else value for field, value in other.items()}
    try:
        return from_tree(values, kind, str(path))
    except SchemaError as error:
        raise WeightsError(f"{error}; the networks here have no such choice") from error


def folder_of_config(config: DreamLayerConfig) -> dict[str, dict[str, Any]]:
    """The JSON files of a diffusers folder that describe the base of a model, by their path in it; the inverse of `config_of_folder`."""
    u, v, t, s = config.unet, config.vae, config.text, config.schedule
    if v.patch_size != 1 or u.rotary:
        raise ValueError(f"the model {config.name!r} folds pixels into patches or turns queries by place; diffusers' networks cannot")
    levels = len(v.block_out_channels)
    return {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        "unet/config.json": UNET
        | {
            "_class_name": "UNet2DConditionModel",
            "sample_size": config.sample_size // v.downscale,
            "in_channels": u.in_channels,
            "out_channels": u.out_channels,
            "block_out_channels": u.block_out_channels,
            "down_block_types": [CROSS if cross else PLAIN for cross in u.cross_attention],
            "up_block_types": [CROSS_UP if cross else PLAIN_UP for cross in reversed(u.cross_attention)],
            "layers_per_block": u.layers_per_block,
            "transformer_layers_per_block": u.transformer_layers_per_block,
            HEADS: u.num_attention_heads,
            "cross_attention_dim": u.cross_attention_dim,
            "norm_num_groups": u.norm_num_groups,
            "use_linear_projection": u.use_linear_projection,
        },
        "vae/config.json": VAE
        | {
            "_class_name": "AutoencoderKL",
            "sample_size": config.sample_size,
            "latent_channels": v.latent_channels,
            "block_out_channels": v.block_out_channels,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "layers_per_block": v.layers_per_block,
            "norm_num_groups": v.norm_num_groups,
            "mid_block_add_attention": v.mid_block_add_attention,
            "scaling_factor": v.scaling_factor,
        },
        "text_encoder/config.json": {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **vars(t)},
        "scheduler/scheduler_config.json": SCHEDULER | {"_class_name": "DDIMScheduler", **vars(s)},
    }
