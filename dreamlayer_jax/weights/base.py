"""What `--weights` names, opened: which kind of thing it is and which configuration it has, before any tensor is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dreamlayer_jax.config import DreamLayerConfig, PredictionType, sd15
from dreamlayer_jax.models.layered import become_layered
from dreamlayer_jax.models.params import Params
from dreamlayer_jax.weights.files.causes import INPAINTING
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.files.pickles import is_pickle, pickle_message
from dreamlayer_jax.weights.formats.checkpoint_folder import WEIGHTS, load_pretrained, open_pretrained, read_folder_config
from dreamlayer_jax.weights.formats.diffusers_folder import is_diffusers_folder, load_diffusers, open_diffusers
from dreamlayer_jax.weights.formats.manifest import MANIFEST
from dreamlayer_jax.weights.formats.orbax_folder import beside, load_orbax, orbax_checkpoint
from dreamlayer_jax.weights.formats.single_file import open_single_file
from dreamlayer_jax.weights.tokenizer import CLIP
from dreamlayer_jax.weights.where import model_name

KINDS = "a DreamLayer folder, a diffusers folder, an Orbax checkpoint with its config.json, or a single .safetensors file"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """A model that can be read."""

    kind: str
    config: DreamLayerConfig
    tokenizer: str | Path
    """Where it is if nobody says otherwise."""
    has_layers: bool
    """It is a layered model by itself; else it is Stable Diffusion, whose layers' parameters are made when it is read."""
    has_layer_decoder: bool
    doubts: tuple[str, ...] = ()
    read: Callable[[], Params]
    """Float32 parameters on the default device, tensor by tensor."""


def open_base(
    path: Path,
    config: DreamLayerConfig | None = None,
    prediction: PredictionType | None = None,
    without_vae: bool = False,
    inpainting: bool = False,
) -> Base:
    """Opens a model; reads headers and configurations, no tensor.

    Args:
        path: of a file or a folder.
        config: what a single file holds, or an Orbax checkpoint without config.json.
        prediction: what the UNet of a single file predicts.
        without_vae: a single file without an autoencoder will do.
        inpainting: an inpainting model will do, which fills holes and makes no layers.

    Raises:
        WeightsError: it is no model, or does not fit its configuration.
    """
    base = _open(path, config, prediction, without_vae)
    if base.config.unet.is_inpainting and not inpainting:
        raise WeightsError(f"{path} cannot be used: {INPAINTING}")
    return base


def _open(path: Path, config: DreamLayerConfig | None, prediction: PredictionType | None, without_vae: bool) -> Base:
    if path.is_file():
        return _single_file(path, config or sd15(), prediction, without_vae)
    if prediction is not None:
        raise WeightsError(f"{path} says itself what its UNet predicts; leave --prediction (prediction=) out, which is for single files")
    if (path / MANIFEST).is_file() or (path / WEIGHTS).is_file():
        config, fitted = open_pretrained(path)
        return Base(
            kind="a DreamLayer folder",
            config=config,
            tokenizer=path / "tokenizer",
            has_layers=True,
            has_layer_decoder=any(at[0] == "layer_decoder" for at in fitted.taken),
            read=lambda: load_pretrained(path)[1],
        )
    if is_diffusers_folder(path):
        config, _ = open_diffusers(path, model_name(path))
        return Base(
            kind="a diffusers folder",
            config=config,
            tokenizer=path / "tokenizer",
            has_layers=False,
            has_layer_decoder=False,
            read=lambda: become_layered(config, load_diffusers(path, config.name)[1]),
        )
    if checkpoint := orbax_checkpoint(path):
        described = beside(checkpoint, path, "config.json")
        if described is None and config is None:
            raise WeightsError(f"the Orbax checkpoint {checkpoint} has no config.json in it or beside it; give config")
        config = read_folder_config(described.parent) if described else config
        return Base(
            kind="an Orbax checkpoint (its arrays are compared with its config.json when they are read)",
            config=config,
            tokenizer=beside(checkpoint, path, "tokenizer") or CLIP,
            has_layers=True,
            has_layer_decoder=True,
            read=lambda: load_orbax(checkpoint, config),
        )
    found = sorted(path.iterdir())
    for entry in found:
        if entry.is_file() and is_pickle(entry):
            raise WeightsError(pickle_message(entry))
    held = ", ".join(entry.name for entry in found[:8]) if found else "nothing: it is empty"
    raise WeightsError(f"{path} is no model; it holds {held}. Give {KINDS}")


def _single_file(path: Path, config: DreamLayerConfig, prediction: PredictionType | None, without_vae: bool) -> Base:
    config = dataclasses.replace(config, name=model_name(path))
    opened = open_single_file(path, config, without_vae)
    config = opened.config
    doubts = []
    if opened.prediction and prediction and opened.prediction != prediction:
        doubts.append(f"{path} says that its UNet predicts {opened.prediction}; it is taken to predict {prediction}, as asked for")
    if opened.doubt and not prediction:
        doubts.append(opened.doubt)
    if predicted := prediction or opened.prediction:
        config = dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, prediction_type=predicted))
    return Base(
        kind="a single file in Stable Diffusion's original layout",
        config=config,
        tokenizer=CLIP,
        has_layers=False,
        has_layer_decoder=False,
        doubts=tuple(doubts),
        read=lambda: become_layered(config, opened.read()),
    )
