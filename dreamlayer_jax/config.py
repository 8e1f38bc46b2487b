"""Frozen configurations of every network, and the two presets: `sd15` and `pocket`.

Field names are those of diffusers' and transformers' JSON files wherever a field means the same, so that a reader who knows one
knows the other.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

PredictionType = Literal["epsilon", "v_prediction", "sample"]
Sampler = Literal["ddim", "dpm++", "dpm++-karras", "unipc", "lcm", "tcd"]


MAX_SIDE = 16384
"""Pixels a side of a picture."""
_MOST = {  # of each field, so that no configuration asks for more than a machine could ever hold or do; of any other field 32768
    "sample_size": MAX_SIDE,
    "layers_per_block": 32,
    "transformer_layers_per_block": 32,
    "num_hidden_layers": 128,
    "context_layers": 32,
    "context_block": 15,
    "patch_size": 64,
    "vocab_size": 1 << 22,
    "num_train_timesteps": 100_000,
    "prompt_windows": 64,
    "max_foregrounds": 1000,
}
_MAY_BE_ZERO = frozenset({"context_layers", "context_block", "steps_offset", "t_guided", "t_h", "t_h_end"})
_MOST_BLOCKS = 16


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_sizes(config: object) -> None:
    """Every whole number within its bounds, every other number finite, no list of blocks empty or endless."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, tuple):
            _require(1 <= len(value) <= _MOST_BLOCKS, f"{field.name} has {len(value)} entries; give 1 to {_MOST_BLOCKS}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float):
                _require(math.isfinite(number), f"{field.name} is {number}; give a finite number")
            elif type(number) is int:
                least, most = 0 if field.name in _MAY_BE_ZERO else 1, _MOST.get(field.name, 1 << 15)
                _require(least <= number <= most, f"{field.name} is {number}; give {least} to {most}")


def _require_groups(channels: tuple[int, ...], groups: int) -> None:
    for number in channels:
        _require(number % groups == 0, f"{number} channels do not divide into {groups} groups")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """UNet2DConditionModel. The i-th entry of each per-block tuple describes the i-th down block, fine to coarse."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    cross_attention: tuple[bool, ...] = (True, True, True, False)  # CrossAttnDownBlock2D or DownBlock2D
    layers_per_block: int = 2
    transformer_layers_per_block: int = 1
    num_attention_heads: int | tuple[int, ...] = 8  # diffusers calls this `attention_head_dim` in SD 1.5's file
    cross_attention_dim: int = 768
    norm_num_groups: int = 32
    use_linear_projection: bool = False
    rotary: bool = False  # self-attention knows places (attention/rotary.py); Stable Diffusion's does not

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            len(self.cross_attention) == len(self.block_out_channels),
            f"cross_attention has {len(self.cross_attention)} entries for {len(self.block_out_channels)} blocks; give one a block",
        )
        _require(len(self.heads) == len(self.block_out_channels), "num_attention_heads is one number, or one a block")
        _require_groups(self.block_out_channels, self.norm_num_groups)
        for channels, heads in zip(self.block_out_channels, self.heads, strict=True):
            _require(channels % heads == 0, f"{channels} channels do not divide into {heads} attention heads")
            _require(
                not self.rotary or channels // heads % 4 == 0,
                f"rotary turns features in fours, and {channels} channels over {heads} heads are {channels // heads} a head",
            )

    @property
    def is_inpainting(self) -> bool:
        """Beside the latent it takes which cells are a hole, and the latent of the picture around it: 4 + 1 + 4 channels."""
        return self.in_channels == 2 * self.out_channels + 1

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads of each down block."""
        if isinstance(self.num_attention_heads, int):
            return (self.num_attention_heads,) * len(self.block_out_channels)
        return self.num_attention_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """AutoencoderKL. `patch_size` folds pixels into channels before the first convolution (1 for Stable Diffusion).

    `linear_path`: beside the convolutions runs a linear code of each latent's own pixels, and a linear picture of each latent; the sums
    count. Set to principal components it is a good autoencoder before the convolutions have learned anything.
    """

    in_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    patch_size: int = 1
    mid_block_add_attention: bool = True
    scaling_factor: float = 0.18215
    linear_path: bool = False

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_groups(self.block_out_channels, self.norm_num_groups)
        _require(self.scaling_factor != 0, "scaling_factor is 0; latents are divided by it")

    @property
    def downscale(self) -> int:
        """Pixels a side per latent."""
        return self.patch_size * 2 ** (len(self.block_out_channels) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """CLIP text tower (CLIPTextModel)."""

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: Literal["quick_gelu", "gelu"] = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} does not divide into {self.num_attention_heads} attention heads",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerDecoderConfig:
    """LayerDiffusion's transparent decoder (paper §2). The latent enters before down block 3, at 1/8 of the side."""

    in_channels: int = 3
    out_channels: int = 4
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (32, 32, 64, 128, 256, 512, 512)
    attention: tuple[bool, ...] = (False, False, False, False, True, True, True)
    layers_per_block: int = 2
    attention_head_dim: int = 8
    norm_num_groups: int = 4

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            len(self.attention) == len(self.block_out_channels),
            f"attention has {len(self.attention)} entries for {len(self.block_out_channels)} blocks; give one a block",
        )
        _require(len(self.block_out_channels) > 3, "the latent enters before down block 3: give 4 blocks or more")
        for channels, attends in zip(self.block_out_channels, self.attention, strict=True):
            _require(
                not attends or channels % self.attention_head_dim == 0,
                f"{channels} channels do not divide into heads of {self.attention_head_dim}",
            )
        _require_groups(self.block_out_channels, self.norm_num_groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The scheduler of Stable Diffusion 1.5 (paper §2): scaled-linear betas, T = 1000."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    prediction_type: PredictionType = "epsilon"
    timestep_spacing: Literal["leading", "linspace", "trailing"] = "leading"
    steps_offset: int = 1
    set_alpha_to_one: bool = False

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(0 < self.beta_start <= self.beta_end < 1, f"betas go from {self.beta_start} to {self.beta_end}; give 0 < start <= end < 1")


RoleName = Literal["background", "foreground", "global"]  # `layer_axis.Role` by name
LayerAttentionKind = Literal["transparent_attn", "joint", "fg2bg", "bg2fg"]
FRAMES: dict[LayerAttentionKind, tuple[RoleName, ...]] = {  # the roles that a file of each kind was trained for, in its order
    "transparent_attn": ("foreground",),
    "joint": ("foreground", "background", "global"),
    "fg2bg": ("background", "global"),
    "bg2fg": ("foreground", "global"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerAttentionConfig:
    """LayerDiffusion's attention (Zhang and Agrawala, arXiv 2402.17113), from one of its files for Stable Diffusion 1.5."""

    kind: LayerAttentionKind
    control_widths: tuple[int, ...] = ()
    """Channels of the control encoder at 1, 1/2, 1/4 and 1/8 of the picture's side; none without control."""

    def __post_init__(self) -> None:
        _require(
            bool(self.control_widths) == (self.kind in ("fg2bg", "bg2fg")),
            f"control_widths is {self.control_widths}; fg2bg and bg2fg are steered by a picture, the other kinds are not",
        )

    @property
    def frames(self) -> tuple[RoleName, ...]:
        """The roles with kernels of their own for queries, keys, values and output; the others are plain Stable Diffusion."""
        return FRAMES[self.kind]

    @property
    def exchange(self) -> Literal["after", "across"]:
        """What follows every attention of the frames: with one frame an affine map, else attention over the frames at each position."""
        return "after" if len(self.frames) == 1 else "across"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayeredConfig:
    """What DreamLayer adds to the base model. Every part can be switched off (the ablation of Table 3 needs it)."""

    max_foregrounds: int = 3
    prompt_windows: int = 1  # S, the global prompt's tokens, is so many times the text tower's length (§3)
    foreground_kv: bool = True  # foregrounds own their K and V projections (§2)
    context_map: bool = True  # CACA, §3.1
    context_block: int = 2  # the down block whose cross-attention makes the maps: 1/4 of the latent side in SD 1.5
    context_layers: int = 2  # N context-aware layers, Eq. 5
    context_width: int = 128
    layer_shared: bool = True  # LSSA's joint keys and values, Eq. 10-11
    one_way: bool = False  # of LSSA: the global layer sees all layers, and they see themselves alone; an experiment for untrained models
    foreground_keys: float = (
        1.0  # of LSSA: the share of a foreground's keys that is seen, where its context map is highest; for many layers
    )
    guided: bool = True  # LSSA's Eq. 9, for t >= t_guided
    t_guided: int = 850  # T_G
    same_noise: bool = False  # all layers of a scene start from (and are trained with) the same noise, §9
    given_clean: bool = False  # given layers are seen clean, at t = 0, which needs training for it; else noised to the others' timestep
    layer_attention: LayerAttentionConfig | None = None  # of a file laid over plain Stable Diffusion (weights/formats/layer_attention.py)

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(self.context_map or not self.guided, "guided (Eq. 9) uses the context maps; with context_map=False set guided=False too")
        _require(0 < self.foreground_keys <= 1, f"foreground_keys is {self.foreground_keys}; give a share over 0, at most 1")
        can_limit = self.context_map and self.layer_shared and not self.one_way
        _require(can_limit or self.foreground_keys == 1, "foreground_keys under 1 needs context_map and layer_shared, without one_way")

    @property
    def global_hears(self) -> bool:
        """Whether what the layers are reaches the global layer: by LSSA, or by an exchange that it takes part in."""
        return self.layer_shared or (self.layer_attention is not None and "global" in self.layer_attention.frames)

    def own_kernels(self, projection: str) -> tuple[RoleName, ...]:
        """The roles that have a kernel of their own for a projection of an attention: "to_q", "to_k", "to_v" or "to_out_0"."""
        frames = self.layer_attention.frames if self.layer_attention else ()
        own_kv = self.foreground_kv and projection in ("to_k", "to_v") and "foreground" not in frames
        return (*frames, "foreground") if own_kv else frames


Fuse = Literal["kept", "blend"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonizeConfig:
    """Information Retained Harmonization (§3.3), as it is done where nobody says otherwise."""

    t_h: Annotated[int, Field(validation_alias=AliasChoices("t_h", "start"))] = 600  # T_H of Table 4; older files call it start
    t_h_end: Annotated[int, Field(validation_alias=AliasChoices("t_h_end", "end"))] = 400  # T'_H of Table 4; older files call it end
    fuse: Annotated[Fuse, Field(validation_alias=AliasChoices("fuse", "lays"))] = "kept"
    """What is fused with the global picture: the kept latents z^i, as Eq. 12 has it, or the blend's latent. Older files call it lays."""

    def __post_init__(self) -> None:
        _require_sizes(self)

    @property
    def window(self) -> tuple[int, int]:
        """(T_H, T'_H)."""
        return self.t_h, self.t_h_end


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamLayerConfig:
    """One whole model. `sample_size` is the picture's default side in pixels; `guidance` (the classifier-free guidance
    weight), `sampler` and `steps` are how it samples by default: a model with an LCM-LoRA merged in has 1, "lcm" and 4."""

    name: str
    sample_size: int
    guidance: float = 7.5
    sampler: Sampler = "ddim"
    steps: int = 50
    unet: UNetConfig
    vae: VAEConfig
    text: TextConfig
    layer_decoder: LayerDecoderConfig
    schedule: ScheduleConfig = ScheduleConfig()
    layered: LayeredConfig = LayeredConfig()
    harmonize: HarmonizeConfig = HarmonizeConfig()

    def __post_init__(self) -> None:
        _require_sizes(self)
        block, crosses = self.layered.context_block, self.unet.cross_attention
        _require(
            not self.layered.context_map or (block < len(crosses) and crosses[block]),
            f"context_block is {block}; the context maps come from a block with cross-attention, and the UNet's are {crosses}",
        )

    @property
    def without_layer_attention(self) -> DreamLayerConfig:
        """The same parameters read without LayerDiffusion's: every layer is plain Stable Diffusion."""
        return dataclasses.replace(self, layered=dataclasses.replace(self.layered, layer_attention=None))

    @property
    def side_multiple(self) -> int:
        """Both sides of a picture must be multiples of this, in pixels: 64 for Stable Diffusion 1.5."""
        return math.lcm(
            self.vae.downscale * 2 ** (len(self.unet.block_out_channels) - 1), 2 ** (len(self.layer_decoder.block_out_channels) - 1)
        )


def sd15() -> DreamLayerConfig:
    """Stable Diffusion 1.5 with LayerDiffusion's layer decoder: 859.5 M + 83.7 M + 123.1 M + 104.1 M parameters before layering."""
    return DreamLayerConfig(
        name="sd15",
        sample_size=512,
        unet=UNetConfig(),
        vae=VAEConfig(),
        text=TextConfig(),
        layer_decoder=LayerDecoderConfig(),
    )


def pocket() -> DreamLayerConfig:
    """The shipped model: 64x64 pixels, 8x8 latents, under 10 M parameters, trained on a CPU."""
    return DreamLayerConfig(
        name="pocket",
        sample_size=64,
        guidance=2.0,
        unet=UNetConfig(
            in_channels=64,
            out_channels=64,
            block_out_channels=(160, 96),
            cross_attention=(True, False),
            layers_per_block=1,
            num_attention_heads=4,
            cross_attention_dim=128,
            use_linear_projection=True,
            rotary=True,
        ),
        vae=VAEConfig(
            latent_channels=64,
            block_out_channels=(96,),
            layers_per_block=1,
            norm_num_groups=16,
            patch_size=8,
            mid_block_add_attention=False,
            scaling_factor=1.0,
            linear_path=True,
        ),
        text=TextConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=32,
        ),
        layer_decoder=LayerDecoderConfig(
            latent_channels=64,
            block_out_channels=(16, 32, 64, 64),
            attention=(False, False, False, False),
            layers_per_block=1,
        ),
        schedule=ScheduleConfig(beta_end=0.02, prediction_type="sample"),
        layered=LayeredConfig(context_block=0, context_layers=1, context_width=64, given_clean=True),
        harmonize=HarmonizeConfig(t_h_end=0, fuse="blend"),
    )
