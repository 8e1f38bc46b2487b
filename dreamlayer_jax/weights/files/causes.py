"""What a set of weights probably is, when it is not what was expected: recognised by its keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dreamlayer_jax.weights.files.tensor_files import TensorFiles, shape_of

ONLY_SD1 = "this library takes Stable Diffusion 1.x"
LORA = "this is a LoRA: low-rank changes to a model, not a model. Give it beside its model: --lora FILE, or from_pretrained(lora=…)"
HALF_MERGED = (
    "a LoRA's parts are still in it: in diffusers, call pipe.unload_lora_weights() after pipe.fuse_lora() and before pipe.save_pretrained, "
    "or give the plain model here, and the LoRA as --lora FILE"
)
SDXL = f"this is Stable Diffusion XL, whose networks are others; {ONLY_SD1}"
SD2 = f"this is Stable Diffusion 2.x (OpenCLIP text tower, prompts 1024 wide, often v-prediction); {ONLY_SD1}"
INPAINTING = (
    "this is an inpainting model: its first convolution takes 9 channels (latent, mask, picture). It fills holes (python -m data "
    "from-pictures --models.fill, or stable_diffusion.load_plain and inpaint) and makes no layers; for layers take the plain model"
)
EDITING = f"this is an InstructPix2Pix model: its first convolution takes 8 channels (latent, picture). Take the plain one; {ONLY_SD1}"
TRANSFORMER = f"this is a diffusion transformer (Stable Diffusion 3, Flux, …); {ONLY_SD1}"
CONTROL = f"this is a ControlNet, an addition to a model; {ONLY_SD1}"
LATENT_CONSISTENCY = (
    "this is a distilled UNet, told the guidance weight as an input (a full LCM). Take the plain model and the LCM as a LoRA"
)
LAYER_DECODER = "this is LayerDiffusion's layer decoder: give it as layer_decoder, beside a Stable Diffusion 1.x model"
LAYER_ATTENTION = "this is LayerDiffusion's attention for Stable Diffusion 1.5: give it as layer_attention, beside a model"
LAYER_ATTENTION_XL = f"this is LayerDiffusion's attention for Stable Diffusion XL; {ONLY_SD1}, so take a layer_sd15_… file"
LAYER_ENCODER = "this is LayerDiffusion's transparent encoder, which is not a model"
ONE_NETWORK = "this is one network of a diffusers folder: give the whole folder (unet/ vae/ text_encoder/ tokenizer/ scheduler/)"

LAYER_DIFFUSION = (
    (r"::[a-z]+::\d+$", LAYER_ATTENTION_XL),
    (r"^hookers\.layers\.", LAYER_ATTENTION),
    (r"^blocks\.16\.weight$", LAYER_ENCODER),
)
BY_KEY = (
    *LAYER_DIFFUSION,
    (r"\.base_layer\.", HALF_MERGED),
    (r"(^|\.)time_embedding\.cond_proj\.", LATENT_CONSISTENCY),
    (r"(^|[._])lora[._]|\.lora_|^lora_", LORA),
    (r"^conditioner\.embedders\.|(^|\.)add_embedding\.|\.label_emb\.|^text_encoder_2\.", SDXL),
    (r"^cond_stage_model\.model\.", SD2),
    (r"(^|\.)(joint_blocks|double_blocks|single_transformer_blocks)\.", TRANSFORMER),
    (r"(^|\.)(control_model\.|controlnet_cond_embedding\.|input_hint_block\.)", CONTROL),
)
BY_SHAPE = (  # key, axis, its size
    (r"(^|\.)(conv_in|input_blocks\.0\.0)\.weight$", 1, 8, EDITING),
    (r"attn2\.to_k\.weight$", 1, 2048, SDXL),
    (r"attn2\.to_k\.weight$", 1, 1024, SD2),
)
MISPLACED = (
    *LAYER_DIFFUSION,
    (r"^latent_conv_in\.", LAYER_DECODER),
    (r"^(time_embedding\.linear_1|encoder\.conv_in|text_model\.embeddings)\.", ONE_NETWORK),
)


def likely_cause(tensors: Mapping[str, np.ndarray]) -> str | None:
    """What the weights are, from their keys and shapes; None if they are nothing known."""
    return _recognised(tensors, BY_KEY, BY_SHAPE)


def _recognised(tensors: Mapping[str, np.ndarray], by_key: tuple, by_shape: tuple) -> str | None:
    for pattern, cause in by_key:
        if any(re.search(pattern, key) for key in tensors):
            return cause
    for pattern, axis, size, cause in by_shape:
        shapes = (shape_of(tensors, key) for key in tensors if re.search(pattern, key))
        if any(len(shape) > axis and shape[axis] == size for shape in shapes):
            return cause
    return None


LORA_BY_KEY = (
    *LAYER_DIFFUSION,
    (r"^lora_te2_|^text_encoder_2\.", SDXL),
    (r"^lora_unet_(double|single)_blocks_|^transformer\.|(^|\.)(double|single)_blocks\.|^lora_transformer_", TRANSFORMER),
)
LORA_BY_SHAPE = (  # the down factor's columns are the layer's inputs
    (r"attn2[._]to_k[._].*(down|lora_A).*weight$", 1, 2048, SDXL),
    (r"attn2[._]to_k[._].*(down|lora_A).*weight$", 1, 1024, SD2),
)
ARCHITECTURES = (  # what kohya's and Stability's metadata call a base
    ("sdxl", SDXL),
    ("stable-diffusion-xl", SDXL),
    ("sd_v2", SD2),
    ("sd_2", SD2),
    ("stable-diffusion-v2", SD2),
    ("stable-diffusion-3", TRANSFORMER),
    ("sd3", TRANSFORMER),
    ("flux", TRANSFORMER),
)


def lora_cause(tensors: TensorFiles) -> str | None:
    """What a LoRA file is made for, if that is no Stable Diffusion 1.x, from its keys, shapes and metadata; None if nothing says so."""
    if cause := _recognised(tensors, LORA_BY_KEY, LORA_BY_SHAPE):
        return cause
    bases = [tensors.metadata.get(field, "").lower() for field in ("ss_base_model_version", "modelspec.architecture")]
    return next((cause for name, cause in ARCHITECTURES if any(base.startswith(name) for base in bases)), None)


def misplaced(tensors: Mapping[str, np.ndarray]) -> str | None:
    """What the weights are, if they are a good file in the place of a whole model."""
    for pattern, cause in MISPLACED:
        if any(re.search(pattern, key) for key in tensors):
            return cause
    return None
