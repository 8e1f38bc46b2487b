"""What files of weights are, together, and what they make possible: from their headers alone, in seconds."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind, PredictionType, sd15
from dreamlayer_jax.memory import needed_bytes
from dreamlayer_jax.models.init import networks_of, param_shapes
from dreamlayer_jax.weights.base import open_base
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.embedding import open_embedding
from dreamlayer_jax.weights.formats.few_step import few_steps
from dreamlayer_jax.weights.formats.layer_attention import configured, open_layer_attention
from dreamlayer_jax.weights.formats.layer_decoder_file import open_layer_decoder
from dreamlayer_jax.weights.formats.lora import open_lora
from dreamlayer_jax.weights.formats.trained import open_trained
from dreamlayer_jax.weights.formats.vae_file import open_vae
from dreamlayer_jax.weights.tokenizer import find_tokenizer

GIB = 2**30
NETWORKS = {"unet": "UNet", "text_encoder": "text tower"}
PREDICTS: dict[PredictionType, str] = {"epsilon": "the noise (epsilon)", "v_prediction": "v", "sample": "the clean latent"}
KINDS: dict[LayerAttentionKind, str] = {
    "transparent_attn": "foregrounds with alpha, each by itself",
    "joint": "one foreground, its background and their blend, made together",
    "fg2bg": "a background for a given foreground",
    "bg2fg": "foregrounds for a given background, one after the other",
}


@dataclasses.dataclass(kw_only=True)
class Survey:
    """What `survey` found."""

    config: DreamLayerConfig
    """The model's, with everything laid over it; Stable Diffusion 1.5's where --weights cannot be used."""
    files: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """The option, and what its file is."""
    doubts: list[str] = dataclasses.field(default_factory=list)
    problems: list[WeightsError] = dataclasses.field(default_factory=list)
    fills: bool = False
    """It is an inpainting model."""
    has_layers: bool = False
    """It knows layers: it was trained to, or LayerDiffusion's attention is there."""
    has_layer_decoder: bool = False
    attentions: list[LayerAttentionKind] = dataclasses.field(default_factory=list)
    """What of LayerDiffusion's attention is there, in the model or beside it."""

    def attempt(self, option: str, file: Path, examine: Callable[[], str]) -> None:
        """Notes what the file is, or why it cannot be used."""
        try:
            self.files.append((option, f"{file}: {examine()}"))
        except WeightsError as error:
            self.problems.append(error)

    def problem(self) -> WeightsError:
        """All problems as one error."""
        error = WeightsError("\n".join(str(one) for one in self.problems))
        error.all_keys = "\n".join(one.all_keys for one in self.problems if one.all_keys)
        return error

    def possible(self) -> list[str]:
        """What can be made with all of it, and what is missing for the rest."""
        if self.fills:
            return [
                "holes of pictures filled: python -m data from-pictures --models.fill, stable_diffusion.inpaint",
                "no layers, and no pictures from text alone: for those take the plain model",
            ]
        found = ["single pictures from text (dreamlayer_jax.stable_diffusion)"]
        if not self.has_layer_decoder:
            needed = "layer_sd15_vae_transparent_decoder.safetensors as --layer-decoder"
            return [*found, f"no layers yet: the alpha of a foreground needs LayerDiffusion's {needed}"]
        if self.attentions:
            return [*found, *(f"layers without training ({kind}): {KINDS[kind]}" for kind in self.attentions)]
        if self.has_layers:
            return [*found, f"text to layers, up to {self.config.layered.max_foregrounds} foregrounds; edit; decompose"]
        needed = "train it (python -m train --config paper), or give LayerDiffusion's layer_sd15_… as --layer-attention"
        return [*found, f"layers of a model that was not trained to make them, which are poor: {needed}"]

    def parameter_bytes(self) -> int:
        """Of all parameters in float32."""
        networks = [name for name in networks_of(self.config) if name != "layer_decoder" or self.has_layer_decoder]
        return 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(param_shapes(self.config, networks)))

    def working_bytes(self, foregrounds: int) -> int:
        """About what a run takes beside the parameters, for one scene of the model's own size with so many foregrounds."""
        side = self.config.sample_size
        return needed_bytes(self.config, 1 + foregrounds, (side, side), scenes=1, batch=1, steps=self.config.steps)


def survey(
    path: Path,
    *,
    layer_decoder: Path | None = None,
    tokenizer: str | Path | None = None,
    trained: Path | None = None,
    vae: Path | None = None,
    embeddings: Sequence[tuple[Path, str | None]] = (),
    loras: Sequence[tuple[Path, float]] = (),
    layer_attentions: Sequence[tuple[Path, LayerAttentionKind | None]] = (),
    prediction: PredictionType | None = None,
) -> Survey:
    """Looks at every file in the order in which `load_model` would, which has the same arguments; a file that is refused stops no other.

    Several of LayerDiffusion's attention files may be there; a command loads the one that makes what is asked for.
    """
    found = Survey(config=sd15())
    own_tokenizer: list[str | Path] = []

    def base() -> str:
        opened = open_base(path, None, prediction, without_vae=vae is not None, inpainting=True)
        found.fills = opened.config.unet.is_inpainting
        found.config, found.has_layers, found.has_layer_decoder = opened.config, opened.has_layers, opened.has_layer_decoder
        if added := opened.config.layered.layer_attention:
            found.attentions.append(added.kind)
        found.doubts += opened.doubts
        own_tokenizer.append(opened.tokenizer)
        what = "an inpainting model (latent, mask and picture: 9 channels), " if found.fills else ""
        return f"{what}{opened.kind}, {_size(path)}; it predicts {PREDICTS[opened.config.schedule.prediction_type]}"

    def laid_over() -> str:
        found.config, _ = open_trained(found.config, trained)
        found.has_layers = True
        return "what was trained of a layered model"

    def autoencoder() -> str:
        open_vae(vae, found.config)
        return f"an autoencoder, {_size(vae)}. That it is not Stable Diffusion XL's, its header cannot tell"

    def lora(file: Path, strength: float) -> str:
        opened = open_lora(file, found.config)
        steps, doubt = few_steps(opened, found.config)
        found.doubts += [doubt] if doubt else []
        found.config = steps.of(found.config) if steps else found.config
        networks = Counter(at[0] for at in opened.changes)
        ranks = sorted({opened.tensors.shape(keys["down"])[0] for keys in opened.changes.values()})
        changed = " and ".join(f"{count} layers of the {NETWORKS[network]}" for network, count in networks.items())
        rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
        return f"{steps or 'a LoRA'}; {changed}, {rank}, at strength {strength:g}"

    def attention(file: Path, told: LayerAttentionKind | None) -> str:
        opened = open_layer_attention(file, found.config.unet, told)
        found.config, found.has_layers = configured(found.config, opened), True
        found.attentions.append(opened.config.kind)
        return f"LayerDiffusion's attention, {opened.config.kind} ({', '.join(opened.config.frames)}), rank {opened.rank}"

    def decoder() -> str:
        config, _ = open_layer_decoder(layer_decoder)
        if config.latent_channels != found.config.vae.latent_channels:
            raise WeightsError(f"the layer decoder {layer_decoder} takes latents of {config.latent_channels} channels, not the model's")
        found.config, found.has_layer_decoder = dataclasses.replace(found.config, layer_decoder=config), True
        return "LayerDiffusion's layer decoder"

    def words(file: Path, word: str | None) -> str:
        opened = open_embedding(file, found.config, word)
        return f"the word {opened.word!r}, {opened.count} token{'s' if opened.count > 1 else ''} of a prompt"

    found.attempt("--weights", path, base)
    if trained is not None:
        found.attempt("--trained", trained, laid_over)
    if vae is not None:
        found.attempt("--vae", vae, autoencoder)
    for file, word in embeddings:
        found.attempt("--embedding", file, lambda file=file, word=word: words(file, word))
    for file, strength in loras:
        found.attempt("--lora", file, lambda file=file, strength=strength: lora(file, strength))
    for file, told in layer_attentions:
        found.attempt("--layer-attention", file, lambda file=file, told=told: attention(file, told))
    if layer_decoder is not None:
        found.attempt("--layer-decoder", layer_decoder, decoder)
    for source in [tokenizer] if tokenizer is not None else own_tokenizer:
        found.files.append(("--tokenizer", _tokenizer(source)))
    return found


def _tokenizer(source: str | Path) -> str:
    try:
        return f"{find_tokenizer(source, download=False)}: a tokenizer"
    except (WeightsError, FileNotFoundError):
        return f"{source}: not on this machine; where it is a hub id, it is downloaded when a model is loaded (2 MB)"


def _size(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e9:.2f} GB"
