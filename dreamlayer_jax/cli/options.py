"""Options that several commands share, and the failures that they report in one paragraph."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import tyro

from dreamlayer_jax.cli.layer_attention import choose
from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.cli.vocabulary import read_vocabulary, warning_for
from dreamlayer_jax.config import Sampler
from dreamlayer_jax.request import RequestError, Sampling

if TYPE_CHECKING:
    from dreamlayer_jax.config import LayeredConfig, PredictionType
    from dreamlayer_jax.pipeline import DreamLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Which model."""

    weights: str | None = None
    """A folder of this library's or of diffusers'; a single .safetensors file; or a hub id "owner/name". By default the pocket."""
    layer_decoder: Path | None = None
    """LayerDiffusion's layer_sd15_vae_transparent_decoder.safetensors, for a model without a layer decoder."""
    tokenizer: str | None = None
    """Folder or hub id of a CLIP tokenizer, for a model without one: a single file."""
    trained: Path | None = None
    """The folder of what was trained, to be laid over --weights."""
    layer_attention: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FILE or FILE:KIND: LayerDiffusion's layer_sd15_{transparent_attn,joint,fg2bg,bg2fg}.safetensors, with which a Stable Diffusion 1.x
    model makes layers without training. The kind is needed where the file's name does not tell fg2bg from bg2fg. Given more than once, the
    one is loaded that makes what is asked for."""
    compose: Literal["joint", "chain", "independent"] | None = None
    """How these files make layers: joint, a background and one foreground at once; chain, each foreground for what is behind it (bg2fg), or
    a background for given foregrounds (fg2bg); independent, each by itself, then placed. By default chain where its file is given."""
    share: Literal["one-way", "all"] | None = None
    """An experiment: layer-shared attention, which these files were not trained with; one-way, only the whole picture sees the layers."""
    max_foregrounds: int | None = None
    """Up to how many foregrounds a scene may have where that is more than the model was trained with; the more, the more they melt."""
    foreground_keys: float | None = None
    """Which share of a foreground's tokens the other layers see, those where its context map is highest: under 1 for many layers."""
    vae: Path | None = None
    """A fine-tuned autoencoder's .safetensors file, such as vae-ft-mse-840000-ema-pruned.safetensors, in the place of the model's."""
    embedding: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FILE or WORD=FILE: a textual inversion's .safetensors file, and what prompts call it; give the option once for each."""
    lora: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FILE or FILE:STRENGTH: a LoRA's .safetensors file; give the option once for each."""
    prediction: Literal["epsilon", "v"] | None = None
    """What the UNet of a single file predicts, where the file does not say it."""
    mesh: str | None = None
    """Devices to divide the work over, such as data=2,layer=4: scenes, and the layers of a scene; -1 is the rest. Or pmap: one a layer."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """What the networks compute in; by default bfloat16 on GPU and TPU, float32 on CPU."""
    exchange: Literal["gather", "ring"] = "gather"
    """How layers on different devices see each other's keys; memory for a ring does not grow with the layers."""
    all_keys: tyro.conf.FlagCreatePairsOff[bool] = False
    """Where weights do not fit: list every key, not only the cause."""

    def load(self, prompts: Sequence[str], default: str = "pocket", to_make: Set[int] | None = None) -> DreamLayer:
        """The model, after a warning for each prompt with a word that it has never seen. `to_make`: the layers that it is to make."""
        from dreamlayer_jax.cli.compilation_cache import use_compilation_cache
        from dreamlayer_jax.pipeline import DreamLayer
        from dreamlayer_jax.weights.where import find_model

        use_compilation_cache()
        weights = self.weights or default
        to_make = set(range(len(prompts))) if to_make is None else to_make
        with self.explained():
            path = find_model(weights)
            model = DreamLayer.from_pretrained(
                path,
                self.layer_decoder,
                tokenizer=self.tokenizer,
                trained=self.trained,
                vae=self.vae,
                embedding=self.words(),
                lora=self.strengths(),
                layer_attention=choose(self.layer_attention, self.compose, len(prompts), to_make),
                prediction=self.predicted(),
                mesh=self.mesh,
                dtype=self.dtype,
                exchange=self.exchange,
                on_warning=warn,
            )
        model = model if self.max_foregrounds is None else model.with_foregrounds(self.max_foregrounds)
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, layered=self._shared(model.config.layered)))
        vocabulary = read_vocabulary(path)
        for prompt in prompts:
            warning = warning_for(prompt, vocabulary, weights)
            if warning:
                say(warning, sys.stderr)
        return model

    def _shared(self, layered: LayeredConfig) -> LayeredConfig:
        """What layer-shared attention is, changed as --share and --foreground-keys say."""
        changes = {} if self.share is None else {"layer_shared": True, "one_way": self.share == "one-way"}
        if self.foreground_keys is not None:
            changes["foreground_keys"] = self.foreground_keys
        try:
            return dataclasses.replace(layered, **changes)
        except ValueError as error:
            raise RequestError(f"this model cannot do what --share and --foreground-keys ask for: {error}") from error

    def predicted(self) -> PredictionType | None:
        """--prediction, as configurations call it."""
        return "v_prediction" if self.prediction == "v" else self.prediction

    def words(self) -> dict[Path, str | None]:
        """The embeddings' files, and their words where they are given."""
        pairs = (("", "", text) if Path(text).exists() else text.rpartition("=") for text in self.embedding)
        return {Path(file): word or None for word, _, file in pairs}

    def strengths(self) -> dict[Path, float]:
        """The LoRAs' files and strengths."""
        return dict(map(file_and_strength, self.lora))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds the list of keys to what goes wrong with weights, if it was asked for; the cause is then said first and last."""
        from dreamlayer_jax.weights.files.errors import WeightsError

        try:
            yield
        except WeightsError as error:
            if not (self.all_keys and error.all_keys):
                raise
            cause = str(error).splitlines()[0]
            raise WeightsError(f"{cause}\n{error.all_keys}\n{cause}") from error

    def load_for(self, made_by: str, prompts: Sequence[str], to_make: Set[int]) -> DreamLayer:
        """The model for a scene that the model `made_by` made, as its folder says: a name to compare, never an address to load.

        Raises `RequestError` if that is no shipped model and --weights does not say which.
        """
        from dreamlayer_jax.weights.where import SHIPPED

        if self.weights is None and made_by not in SHIPPED:
            named = f"the model {made_by!r}, which is no shipped one" if made_by else "a model that it does not name"
            raise RequestError(f"the scene was made by {named}; say with --weights where that model is")
        model = self.load(prompts, default=made_by, to_make=to_make)
        if made_by and made_by != model.config.name:
            warn(f"the scene was made by the model {made_by!r}; it is edited with {model.config.name!r}")
        return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How denoising is done. By default, as the model does it."""

    sampler: Sampler | None = None
    """ddim; dpm++, with Karras's noise levels or without, and unipc, which need fewer steps; lcm and tcd, for models distilled for them."""
    steps: int | None = None
    """Denoising steps, 1 to 1000; 50 for ddim, 20 for dpm++ and unipc, 4 for lcm and tcd where the model does not say."""
    guidance: float | None = None
    """Classifier-free guidance weight, 1 is none."""
    guidance_interval: tuple[int, int] | None = None
    """FROM TO: guidance only at timesteps from FROM down to TO, such as 800 200."""
    negative: str = ""
    """What guidance leads away from, such as "bad, ugly"."""

    def sampling(self) -> Sampling:
        """The request. Raises `RequestError` for a value that no model could use."""
        return Sampling(**vars(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harmonize:
    """Harmonisation (IRH)."""

    t_h: int | None = None
    """T_H, the timestep from which the layers are denoised again as one picture; the model's own by default (600 in the paper)."""
    t_h_end: int | None = None
    """T'_H, the timestep down to which the foregrounds are laid in (400 in the paper); below it shadows and contact form freely."""

    def window(self, model: DreamLayer) -> tuple[int, int]:
        """(T_H, T'_H) of the options, the model's where they are not given."""
        own = model.config.harmonize
        return own.t_h if self.t_h is None else self.t_h, own.t_h_end if self.t_h_end is None else self.t_h_end


def file_and_strength(text: str) -> tuple[Path, float]:
    """FILE or FILE:STRENGTH of --lora."""
    file, _, strength = text.rpartition(":")
    if not file or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(file), float(strength)
    except ValueError:
        return Path(text), 1.0


T = TypeVar("T")
MODEL, SAMPLING, HARMONIZE = Model(), SamplingOptions(), Harmonize()


def numbered(option: str, text: str, form: str, read: Callable[[str], T]) -> tuple[int, T]:
    """The layer's number and what follows the colon, read by `read`. Raises `RequestError` that says the right `form`."""
    number, colon, rest = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(number), read(rest)
    except ValueError:
        raise RequestError(f"--{option} is {text!r}; give {form}") from None


def outside_failures() -> tuple[type[Exception], ...]:
    """What can go wrong outside this program; anything else is a bug and shows its traceback."""
    from dreamlayer_jax.picture import PictureError
    from dreamlayer_jax.place import PlaceError
    from dreamlayer_jax.prompts import PromptError
    from dreamlayer_jax.weights.files.errors import WeightsError

    return RequestError, PromptError, WeightsError, PictureError, PlaceError, OSError
