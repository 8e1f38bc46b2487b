"""LayerDiffusion's attention for Stable Diffusion 1.5, `layer_sd15_{transparent_attn,joint,fg2bg,bg2fg}.safetensors`, laid over a model.

hookers.layers.{i}.to_{q,k,v,out}_lora.{f}.{down,up}.weight      W_f = W + up @ down, of attention i (models/attention_sites.py) and frame f
hookers.layers.{i}.temporal_{n,i,q,k,v,o}.{weight,bias}          the exchange between frames (attention/position.py)
hookers.layers.{i}.control_convs.{f}.{0,2}.{weight,bias}         fg2bg and bg2fg alone: how the given picture steers (models/control.py)
kwargs_encoder.blocks_{j}.{2n}.{weight,bias}                     the same picture's encoder; the odd numbers are its SiLUs

fg2bg and bg2fg have the very same keys and shapes: the file's name tells which it is, or the user.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import FRAMES, DreamLayerConfig, LayerAttentionConfig, LayerAttentionKind
from dreamlayer_jax.models.attention_sites import AttentionSite, attention_sites
from dreamlayer_jax.models.layered import is_copy, trained_copy
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import likely_cause, misplaced
from dreamlayer_jax.weights.files.errors import WeightsError, mismatch
from dreamlayer_jax.weights.files.tensor_files import load_safetensors, shape_of

PROJECTIONS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out_0": "to_out"}  # ours, the file's
EXCHANGE = {"norm": "n", "proj_in": "i", "to_q": "q", "to_k": "k", "to_v": "v", "proj_out": "o"}
WIDTHS = (32, 64, 128, 256)  # of the published files' control encoder
SEPARATE_FOREGROUNDS = 8  # what is made one after the other has no bound of its own; the prompt's tokens have
Put = Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerAttentionFile:
    """One file, opened and checked; its tensors are read when they are asked for."""

    tensors: Mapping[str, np.ndarray]
    config: LayerAttentionConfig
    rank: int


def open_layer_attention(file: Path, unet: Any, kind: LayerAttentionKind | None = None) -> LayerAttentionFile:
    """A file that fits the UNet's configuration.

    Args:
        file: of LayerDiffusion.
        unet: the `UNetConfig` of the model that it is for.
        kind: what the file is; needed for fg2bg and bg2fg if the file's name does not say it.

    Raises:
        WeightsError: the file is damaged or something else, of a kind that nobody told, or keys are missing, left over or of another shape;
            all of them are listed in the file's own names.
    """
    tensors = load_safetensors(file)
    frames, control = _frames_and_control(file, tensors)
    kind = _kind(file, frames, control, kind)
    rank = Counter(shape_of(tensors, key)[0] for key in tensors if re.search(r"_lora\.\d+\.down\.weight$", key)).most_common(1)[0][0]
    config = LayerAttentionConfig(kind=kind, control_widths=_control_widths(tensors) if control else ())
    _require_all(file, tensors, expected_shapes(config, rank, unet))
    return LayerAttentionFile(tensors=tensors, config=config, rank=rank)


def kind_of_file(file: Path, told: LayerAttentionKind | None = None) -> LayerAttentionKind:
    """What a file is, from its header and name, or as it is told; errors as in `open_layer_attention`."""
    return _kind(file, *_frames_and_control(file, load_safetensors(file)), told)


def add_layer_attention(
    config: DreamLayerConfig, params: Params, file: Path, kind: LayerAttentionKind | None = None, put: Put = jax.device_put
) -> tuple[DreamLayerConfig, Params]:
    """The model with the file laid over it; `params` stay as they are. Arguments and errors as in `open_layer_attention`.

    The frames' kernels are added to the model's, a LoRA in them included. LSSA and Eq. 9 are off: nothing was trained with them.
    """
    opened = open_layer_attention(file, config.unet, kind)
    if (trained := trained_copy(params)) is not None:
        raise WeightsError(
            f"the model {config.name!r} has layers of its own already ({'.'.join(trained)} is not the base's); "
            f"{file} is for a Stable Diffusion 1.x model as it is"
        )
    flat = {path: leaf for path, leaf in flatten_dict(params).items() if not is_copy(path)}
    for i, site in enumerate(attention_sites(config.unet)):
        flat |= frame_kernels(opened, i, site, flat, put) | exchange(opened, i, site, put) | control_convs(opened, i, put)
    if opened.config.control_widths:
        flat |= _control_encoder(opened, put)
    config = configured(config, opened)
    width = config.text.hidden_size
    flat["layer_assign", "embedding"] = put(np.zeros((1 + config.layered.max_foregrounds, width), np.float32))
    return config, unflatten_dict(flat)


def configured(config: DreamLayerConfig, opened: LayerAttentionFile) -> DreamLayerConfig:
    """`config` of the model with the file laid over it."""
    together = opened.config.kind == "joint"
    return dataclasses.replace(
        config,
        layered=dataclasses.replace(
            config.layered,
            layer_attention=opened.config,
            max_foregrounds=1 if together else SEPARATE_FOREGROUNDS,
            foreground_kv=False,
            layer_shared=False,
            guided=False,
        ),
        harmonize=dataclasses.replace(config.harmonize, fuse="kept" if together else "blend"),
    )


def _frames_and_control(file: Path, tensors: Mapping[str, np.ndarray]) -> tuple[int, bool]:
    """The number of frames, and whether a picture steers them."""
    frames = _numbers(tensors, r"hookers\.layers\.\d+\.to_\w+_lora\.(\d+)\.")
    if not frames:
        cause = misplaced(tensors) or likely_cause(tensors) or "it has none of their keys, hookers.layers.…"
        raise WeightsError(f"{file} is no attention file of LayerDiffusion for Stable Diffusion 1.5: {cause}")
    return max(frames) + 1, any(key.startswith("kwargs_encoder.") or ".control_convs." in key for key in tensors)


def _kind(file: Path, frames: int, control: bool, told: LayerAttentionKind | None) -> LayerAttentionKind:
    fitting = [kind for kind, roles in FRAMES.items() if len(roles) == frames and control == (len(roles) == 2)]
    what = f"{file} has {frames} frame{'s' if frames > 1 else ''} {'and' if control else 'without'} a control picture"
    if not fitting:
        raise WeightsError(f"{what}; no file of LayerDiffusion for Stable Diffusion 1.5 has")
    if told is not None and told not in fitting:
        raise WeightsError(f"{what}; that is {' or '.join(fitting)}, not {told}")
    named = [kind for kind in fitting if kind in file.name]
    if told is None and len(fitting) > 1 and len(named) != 1:
        raise WeightsError(
            f"{what}: it is fg2bg (a background for a foreground) or bg2fg (a foreground for a background), whose keys are the same. "
            f"Its name does not say which; give the kind too, on the command line {file.name}:fg2bg or {file.name}:bg2fg"
        )
    return told or (named[0] if len(fitting) > 1 else fitting[0])


def _control_widths(tensors: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    keys = [f"kwargs_encoder.blocks_0.{4 * i}.weight" for i in range(len(WIDTHS))]
    return tuple(shape_of(tensors, key)[0] if key in tensors else width for key, width in zip(keys, WIDTHS, strict=True))


def expected_shapes(config: LayerAttentionConfig, rank: int, unet: Any) -> dict[str, tuple[int, ...]]:
    """Every key of such a file, and its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, site in enumerate(attention_sites(unet)):
        c, layer = site.channels, f"hookers.layers.{i}"
        for f in range(len(config.frames)):
            for ours, name in PROJECTIONS.items():
                source = site.source if ours in ("to_k", "to_v") else c
                shapes |= {f"{layer}.{name}_lora.{f}.down.weight": (rank, source), f"{layer}.{name}_lora.{f}.up.weight": (c, rank)}
            if config.control_widths:
                s = config.control_widths[-1]
                shapes |= _weight_and_bias(f"{layer}.control_convs.{f}.0", (s, s, 3, 3))
                shapes |= _weight_and_bias(f"{layer}.control_convs.{f}.2", (c, s, 1, 1))
        for name in EXCHANGE.values():
            shapes |= _weight_and_bias(f"{layer}.temporal_{name}", (c,) if name == "n" else (c, c))
    for j, n, wide, out in _encoder_convolutions(config, len(unet.block_out_channels)):
        shapes |= _weight_and_bias(f"kwargs_encoder.blocks_{j}.{2 * n}", (out, wide, 3, 3))
    return shapes


def _weight_and_bias(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _encoder_convolutions(config: LayerAttentionConfig, levels: int) -> list[tuple[int, int, int, int]]:
    """(block, number in it, channels in, channels out) of each."""
    if not config.control_widths:
        return []
    blocks = [[width for width in config.control_widths for _ in range(2)]] + [[config.control_widths[-1]] * 2] * (levels - 1)
    flat = [(j, n, width) for j, block in enumerate(blocks) for n, width in enumerate(block)]
    return [(j, n, before, width) for (j, n, width), before in zip(flat, [3, *(width for _, _, width in flat)], strict=False)]


def _require_all(file: Path, tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing = sorted(set(expected) - set(tensors))
    unused = sorted(set(tensors) - set(expected))
    shapes = {key: (shape_of(tensors, key), shape) for key, shape in expected.items() if key in tensors}
    misshaped = [f"{key}: the file has {found}, the model needs {wanted}" for key, (found, wanted) in shapes.items() if found != wanted]
    if not (missing or unused or misshaped):
        return
    if len(misshaped) > len(expected) / 2:
        raise WeightsError(f"{file} was made for another base: {misshaped[0]}, and {len(misshaped) - 1} more")
    cause = f"{file} is not the whole of LayerDiffusion's attention for Stable Diffusion 1.5; download it again"
    raise mismatch(cause, (("missing", missing), ("not used", unused), ("of another shape", misshaped)))


def _numbers(tensors: Mapping[str, np.ndarray], pattern: str) -> set[int]:
    return {int(found[1]) for key in tensors if (found := re.match(pattern, key))}


def frame_kernels(opened: LayerAttentionFile, i: int, site: AttentionSite, flat: Mapping[tuple[str, ...], Any], put: Put) -> dict[Any, Any]:
    """W + up @ down of each frame, in float32."""
    made = {}
    for f, frame in enumerate(opened.config.frames):
        for ours, name in PROJECTIONS.items():
            down, up = (_float32(opened, f"hookers.layers.{i}.{name}_lora.{f}.{part}.weight") for part in ("down", "up"))
            base = np.asarray(flat["unet", *site.path, ours, "kernel"], np.float32)
            made["unet", *site.path, f"{ours}_{frame}", "kernel"] = put(base + (up @ down).T)
    return made


def exchange(opened: LayerAttentionFile, i: int, site: AttentionSite, put: Put) -> dict[Any, Any]:
    """The exchange's layers; with one frame they are folded into one, in float64."""
    at = ("unet", *site.path, "exchange")

    def read(name: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = (opened.tensors[f"hookers.layers.{i}.temporal_{EXCHANGE[name]}.{part}"].astype(dtype) for part in ("weight", "bias"))
        return weight, bias

    if opened.config.exchange == "after":
        scale, shift = read("norm", np.float64)
        matrix, bias = folded(scale, shift, *(read(name, np.float64) for name in ("proj_in", "to_v", "proj_out")))
        return {(*at, "proj", "kernel"): put(matrix.T.astype(np.float32)), (*at, "proj", "bias"): put(bias.astype(np.float32))}
    made = {}
    for name in EXCHANGE:
        weight, bias = read(name, np.float32)
        made[*at, name, "scale" if name == "norm" else "kernel"] = put(np.ascontiguousarray(weight.T))
        made[*at, name, "bias"] = put(bias)
    return made


def folded(
    scale: np.ndarray, shift: np.ndarray, proj_in: tuple[np.ndarray, np.ndarray], to_v: tuple[np.ndarray, np.ndarray], proj_out: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(M diag(γ), M β + W_o (W_v b_i + b_v) + b_o), M = W_o W_v W_i: the exchange of a single frame as an affine map of ŷ, (out, in)."""
    (w_i, b_i), (w_v, b_v), (w_o, b_o) = proj_in, to_v, proj_out
    m = w_o @ (w_v @ w_i)
    return m * scale, m @ shift + w_o @ (w_v @ b_i + b_v) + b_o


def control_convs(opened: LayerAttentionFile, i: int, put: Put) -> dict[Any, Any]:
    made = {}
    for f, frame in enumerate(opened.config.frames if opened.config.control_widths else ()):
        for ours, n in (("conv_in", 0), ("conv_out", 2)):
            made |= _convolution(opened, f"hookers.layers.{i}.control_convs.{f}.{n}", ("control", f"{frame}_{i}", ours), put)
    return made


def _control_encoder(opened: LayerAttentionFile, put: Put) -> dict[Any, Any]:
    made = {}
    for key in opened.tensors:
        if found := re.fullmatch(r"(kwargs_encoder\.blocks_(\d+)\.(\d+))\.weight", key):
            made |= _convolution(opened, found[1], ("control", "encoder", f"blocks_{found[2]}_layers_{int(found[3]) // 2}"), put)
    return made


def _convolution(opened: LayerAttentionFile, name: str, path: tuple[str, ...], put: Put) -> dict[Any, Any]:
    weight, bias = (_float32(opened, f"{name}.{part}") for part in ("weight", "bias"))
    return {(*path, "kernel"): put(np.ascontiguousarray(weight.transpose(2, 3, 1, 0))), (*path, "bias"): put(bias)}


def _float32(opened: LayerAttentionFile, key: str) -> np.ndarray:
    return opened.tensors[key].astype(np.float32)
