"""`DreamLayer`: the thin face. Each method is a check and a call; the work is in `tasks` and `diffusion`."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dreamlayer_jax.config import DreamLayerConfig, LayerAttentionKind, PredictionType
from dreamlayer_jax.diffusion.decompose import Method
from dreamlayer_jax.editing.edits import Edit
from dreamlayer_jax.layered_image import LayeredImage
from dreamlayer_jax.model import Model
from dreamlayer_jax.models.layered import for_more_foregrounds
from dreamlayer_jax.picture import Picture, read_layer, read_picture
from dreamlayer_jax.place import Exchange, make_place
from dreamlayer_jax.request import RequestError, Sampling, check_request
from dreamlayer_jax.tasks.edit import edit_layers
from dreamlayer_jax.tasks.harmonize import Window
from dreamlayer_jax.tasks.image_to_layers import image_to_layers
from dreamlayer_jax.tasks.seen_in_picture import UnsupportedLayerWarning, unsupported
from dreamlayer_jax.tasks.text_to_layers import text_to_layers
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from dreamlayer_jax.weights.formats.diffusers_folder import export_diffusers
from dreamlayer_jax.weights.formats.trained import save_trained
from dreamlayer_jax.weights.load import add_lora, load_model
from dreamlayer_jax.weights.where import find_model

File = str | Path


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DreamLayer(Model):
    """A loaded model and its three tasks.

    DreamLayer.from_pretrained("pocket").generate(background="a sandy beach", foregrounds=["a red apple", "a dog"]).save("out/beach")
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "pocket",
        layer_decoder: str | Path | None = None,
        *,
        tokenizer: str | Path | None = None,
        trained: str | Path | None = None,
        vae: str | Path | None = None,
        embedding: File | Sequence[File] | Mapping[File, str] = (),
        lora: File | Sequence[File] | Mapping[File, float] = (),
        layer_attention: str | Path | tuple[str | Path, LayerAttentionKind] | None = None,
        prediction: PredictionType | None = None,
        config: DreamLayerConfig | None = None,
        mesh: str | Mesh | None = None,
        dtype: Any = None,
        exchange: Exchange = "gather",
        on_warning: Callable[[str], None] = warnings.warn,
    ) -> DreamLayer:
        """Loads a model, float32, tensor by tensor. A Stable Diffusion 1.x model becomes a layered one, ready to train (paper §2).

        Args:
            source: the shipped model, "pocket"; the folder of `save_pretrained`; a diffusers folder (safetensors); a single `.safetensors`
                file in Stable Diffusion's original layout; an Orbax checkpoint of `params` with our config.json; or a hub id "owner/name".
            layer_decoder: LayerDiffusion's `layer_sd15_vae_transparent_decoder.safetensors`. A Stable Diffusion model loads without it, but
                cannot `generate`.
            tokenizer: a folder or hub id, for a model that has none; a single file takes CLIP's from the hub if nothing is given.
            trained: the folder of `save_trained`, laid over the model.
            vae: an autoencoder in a `.safetensors` file of its own, in the place of the model's, or for a single file that has none.
            embedding: textual inversions, `.safetensors`: a file, several, or files and the words that prompts call them.
            lora: LoRAs, `.safetensors`: a file, several, or files and their strengths.
            layer_attention: LayerDiffusion's `layer_sd15_{transparent_attn,joint,fg2bg,bg2fg}.safetensors`, laid over a Stable Diffusion
                1.x model, which then makes layers without training. With its kind if the file's name does not tell fg2bg from bg2fg.
            prediction: what the UNet of a single file predicts, where the file does not say it and it is not the noise: "v_prediction".
            config: what a single file holds (`sd15()` if nothing is given), or an Orbax checkpoint without config.json.
            mesh: devices to divide the work over: "data=2,layer=4" (scenes, and the layers of a scene; -1 is the rest), "pmap" (one device
                a layer), or a `jax.sharding.Mesh` with these two axes. One device by default.
            dtype: of the networks' activations, as JAX's or as a word: by default bfloat16 on GPU and TPU, float32 on CPU. Parameters stay
                float32.
            exchange: how layers on different devices see each other's keys: "gather", or "ring", whose memory does not grow with layers.
            on_warning: told what is in doubt, in one line each.

        Raises:
            WeightsError: something is missing, damaged, or not of this model; the message says the likely cause, and `all_keys` lists all
                that does not fit.
            PlaceError: the mesh cannot be made of the devices that are there.
        """
        place = make_place(mesh, dtype, exchange)
        config, params, text = load_model(
            find_model(source),
            layer_decoder=None if layer_decoder is None else Path(layer_decoder),
            tokenizer=tokenizer,
            trained=None if trained is None else Path(trained),
            vae=None if vae is None else Path(vae),
            embeddings=_files(embedding, None),
            loras=_files(lora, 1.0),
            layer_attention=_file_and_kind(layer_attention),
            prediction=prediction,
            config=config,
            on_warning=on_warning,
        )
        params = params if place.mesh is None else jax.device_put(params, place.of_parameters(params))
        return cls(config=config, params=params, tokenizer=text, place=place)

    def with_lora(self, file: File, strength: float = 1.0, *, on_warning: Callable[[str], None] = warnings.warn) -> DreamLayer:
        """A new model with a LoRA merged in; this one stays as it is, and shares every array that the LoRA does not change.

        A LoRA for few steps (LCM, TCD, Hyper-SD) brings its way of sampling along. Raises `WeightsError` for a file that does not fit.
        """
        config, params = add_lora(self.config, self.params, Path(file), strength, on_warning)
        return dataclasses.replace(self, config=config, params=params)

    def with_foregrounds(self, most: int) -> DreamLayer:
        """A new model for scenes of up to `most` foregrounds, more than it was trained with; this one stays as it is.

        See `models.layered.for_more_foregrounds`; the more there are, the more they melt. Raises `RequestError` where that cannot be done.
        """
        try:
            config, params = for_more_foregrounds(self.config, self.params, most)
        except ValueError as error:
            raise RequestError(str(error)) from error
        return dataclasses.replace(self, config=config, params=params)

    def save_pretrained(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes the whole model as a folder of ours, with checksums; `folder` must not exist yet."""
        save_pretrained(Path(folder), self.config, self.params, self.tokenizer, dtype=dtype)

    def save_trained(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes only what DreamLayer trains (both K/V sets, context-aware layers, layer-assign embeddings), for `trained=`."""
        save_trained(Path(folder), self.config, self.params, dtype)

    def export_diffusers(self, folder: str | Path, dtype: Any = jnp.float32) -> None:
        """Writes the base, without what DreamLayer added, as a diffusers folder; `folder` must not exist yet."""
        export_diffusers(Path(folder), self.config, self.params, self.tokenizer, dtype)

    def generate(
        self,
        *,
        background: str,
        foregrounds: Sequence[str],
        seed: int = 0,
        size: tuple[int, int] | None = None,
        given: Mapping[int, Picture] | None = None,
        harmonize: Window | bool = True,
        on_progress: Callable[[float], None] | None = None,
        **sampling: Any,
    ) -> LayeredImage:
        """Text to layers (paper §9): sampling with classifier-free guidance, then harmonisation (§3.3).

        Args:
            background: prompt of the background.
            foregrounds: prompts of the foregrounds, far to near.
            seed: of the starting noise; the same seed gives the same bytes on the same machine.
            size: height and width in pixels, multiples of `config.side_multiple`; the model's own by default.
            given: layers that are known already (0 the background, 1 the farthest foreground, …), of that size: files, Pillow's
                pictures or straight RGBA in uint8; they stay as they are and the others are made for them. Their prompts are still needed.
            harmonize: (T_H, T'_H); True is the model's own, False leaves the composite out.
            on_progress: called now and then with the share of the work, by its cost, that is done.
            sampling: `sampler`, `steps`, `guidance`, `guidance_interval`, `negative`: the fields of `request.Sampling`; the model's own
                where not given.

        Raises:
            RequestError: the model cannot make what is asked for.
            PictureError: a given layer cannot be read.
            PromptError: the prompts have more tokens than the global prompt holds.
        """
        foregrounds = list(foregrounds) if not isinstance(foregrounds, str) else foregrounds
        check_request(background=background, foregrounds=foregrounds, seed=seed)
        options = {"size": size, "given": given, "harmonize": harmonize, "on_progress": on_progress}
        return self.generate_batch([[background, *foregrounds]], seeds=[seed], **options, **sampling)[0]

    def generate_batch(
        self,
        scenes: Sequence[Sequence[str]],
        *,
        seeds: Sequence[int],
        size: tuple[int, int] | None = None,
        given: Mapping[int, Picture] | None = None,
        harmonize: Window | bool = True,
        on_progress: Callable[[float], None] | None = None,
        **sampling: Any,
    ) -> list[LayeredImage]:
        """`generate` for several scenes at once, all of one layer count: each as it would be alone, up to rounding.

        Args:
            scenes: each scene's prompts, background first.
            seeds: one a scene.
            size: as in `generate`, as are the others.
            given: layers that every scene has.
            harmonize: (T_H, T'_H), True or False.
            on_progress: called now and then with the share of the work, by its cost, that is done.
            sampling: the fields of `request.Sampling`.
        """
        for prompts, seed in zip(scenes, seeds, strict=True):
            check_request(background=prompts[0], foregrounds=prompts[1:], seed=seed)
        window = self.config.harmonize.window if harmonize is True else harmonize or (0, 0)
        layers = {number: read_layer(pixels) for number, pixels in (given or {}).items()}
        options = {"size": size, "given": layers, "window": window, "on_progress": on_progress}
        return text_to_layers(self, scenes, seeds=seeds, sampling=Sampling(**sampling), **options)

    def edit(
        self,
        image: LayeredImage,
        edits: Sequence[Edit],
        *,
        seed: int | None = None,
        harmonize: Window | None = None,
        on_progress: Callable[[float], None] | None = None,
        **sampling: Any,
    ) -> LayeredImage:
        """Edits a scene and harmonises it again (paper §4.4, Eq. 13): shadows follow, cut objects come out whole.

        Args:
            image: from `generate`, `decompose`, `edit`, `LayeredImage.load`, or built from anyone's layers.
            edits: of `dreamlayer_jax.editing.edits`; layers are named by their number in `image`.
            seed: of the noise of what is made anew; the image's own by default.
            harmonize: (T_H, T'_H); the model's own by default.
            on_progress: called now and then with the share of the work, by its cost, that is done.
            sampling: the fields of `request.Sampling`; as the image was sampled by default.

        Raises:
            RequestError: an edit names a layer that is not there, or the model cannot make what is asked for.
        """
        seed = image.seed if seed is None else seed
        as_asked = dataclasses.replace(Sampling.from_settings(image.settings), **sampling)
        prompts = [layer.prompt for layer in image.layers]
        check_request(background=prompts[0], foregrounds=prompts[1:], seed=seed)
        window = harmonize or self.config.harmonize.window
        return edit_layers(self, image, edits, seed=seed, sampling=as_asked, window=window, on_progress=on_progress)

    def decompose(
        self,
        picture: Picture,
        *,
        background: str,
        foregrounds: Sequence[str],
        seed: int = 0,
        method: Method | None = None,
        on_progress: Callable[[float], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> LayeredImage:
        """Image to layers (paper Appendix E).

        Args:
            picture: of any size, a file, Pillow's picture or RGB in uint8; fitted to the model's canvas, the layers come in its size.
            background: what the picture's background shows.
            foregrounds: what its foregrounds show, far to near.
            seed: of the noise that method "given" starts from.
            method: "inversion" (the paper's), "replay" or "given", see `dreamlayer_jax.diffusion.decompose`; the better one for the model
                where not given.
            on_progress: called now and then with the share of the work, by its cost, that is done.
            on_warning: told of a foreground that the picture hardly supports (`Layer.support`), which may be invented; without it, an
                `UnsupportedLayerWarning` is given.
            sampling: the fields of `request.Sampling`. Where the method inverts the picture, the sampler is DDIM.

        Raises:
            RequestError: the model cannot make what is asked for.
        """
        foregrounds = list(foregrounds) if not isinstance(foregrounds, str) else foregrounds
        check_request(background=background, foregrounds=foregrounds, seed=seed)
        prompts = [background, *foregrounds]
        options = {"seed": seed, "sampling": Sampling(**sampling), "method": method, "on_progress": on_progress}
        image = image_to_layers(self, read_picture(picture), prompts, **options)
        for text in unsupported(image):
            on_warning(text) if on_warning is not None else warnings.warn(text, UnsupportedLayerWarning, stacklevel=2)
        return image


def _files(given: File | Sequence[File] | Mapping[File, Any], default: Any) -> list[tuple[Path, Any]]:
    """Files and what belongs to each."""
    if isinstance(given, Mapping):
        return [(Path(file), value) for file, value in given.items()]
    return [(Path(file), default) for file in ([given] if isinstance(given, (str, Path)) else given)]


def _file_and_kind(layer_attention: Any) -> tuple[Path, LayerAttentionKind | None] | None:
    if layer_attention is None:
        return None
    file, kind = layer_attention if isinstance(layer_attention, tuple) else (layer_attention, None)
    return Path(file), kind
