"""Stages by networks of transformers, on PyTorch: an open-set detector, a segmenter, a depth model and a matting model.

A model is a local folder, or a hub id, "owner/name" or better "owner/name@revision"; safetensors only, never a model's own code. This file
alone imports torch, and only when a stage is made.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.peel.hole import smooth_fill
from data.peel.matte import closed_form
from data.peel.painting import DiffusionFill
from data.peel.stages import Detection, Stages, Wanted

DETECTOR = "IDEA-Research/grounding-dino-tiny"
SEGMENTER = "facebook/sam-vit-base"
DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"
MATTER = "hustvl/vitmatte-small-composition-1k"
FULL_STOP = "."
METRIC = ("depth_pro", "zoedepth")
"""Models whose output is a distance: larger is farther, so it is negated."""


def fetched(model: str) -> Path:
    """The local folder of a model. Raises `ValueError` if there is none and the hub has none."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    id, _, revision = model.partition("@")
    try:
        return Path(snapshot_download(id, revision=revision or None, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except Exception as error:  # the hub's library raises many kinds
        raise ValueError(f"{model} is no folder, and the hub does not give it ({' '.join(str(error).split())[:200]})") from error


def _loaded(kind: str, model: str) -> tuple[Any, Any]:
    """A processor and a network, by transformers' class for the task."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ValueError(f"this stage needs PyTorch ({error}); pip install -e '.[pictures]'") from error
    folder = fetched(model)
    network = getattr(transformers, kind).from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    processor_class = transformers.AutoProcessor if kind in ("AutoModelForZeroShotObjectDetection", "AutoModelForMaskGeneration") else None
    processor_class = processor_class or transformers.AutoImageProcessor
    processor = processor_class.from_pretrained(folder, trust_remote_code=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return processor, network.eval().to(device)


class NetworkDetect:
    """GroundingDINO and its kin by their logits, a query to the prompt whose own words score highest; OWLv2 by its labels."""

    def __init__(self, model: str = DETECTOR, least: float = 0.05) -> None:
        self.processor, self.network = _loaded("AutoModelForZeroShotObjectDetection", model)
        self.least = least

    def __call__(self, picture: np.ndarray, prompts: Sequence[str]) -> list[Detection]:
        """See `data.peel.stages.Detect`."""
        import torch

        plain = [" ".join(prompt.lower().replace(FULL_STOP, " ").split()) for prompt in prompts]
        image, (height, width) = Image.fromarray(picture), picture.shape[:2]
        inputs = self.processor(images=image, text=[plain], return_tensors="pt").to(self.network.device)
        with torch.inference_mode():
            outputs = self.network(**inputs)
        if hasattr(outputs, "pred_boxes") and "grounding" in self.network.config.model_type:
            return self._by_words(outputs, inputs["input_ids"][0].tolist(), len(prompts), height, width)
        sizes = torch.tensor([[height, width]])
        found = self.processor.post_process_grounded_object_detection(outputs, threshold=self.least, target_sizes=sizes)[0]
        rows = zip(found["labels"].tolist(), found["boxes"].tolist(), found["scores"].tolist(), strict=True)
        return [Detection(prompt=label, box=_clipped(box, height, width), score=score) for label, box, score in rows]

    def _by_words(self, outputs: Any, ids: list[int], count: int, height: int, width: int) -> list[Detection]:
        scores = outputs.logits[0].sigmoid().float().cpu().numpy()
        centre_x, centre_y, wide, high = outputs.pred_boxes[0].float().cpu().numpy().T
        spans = self.spans(ids, count)
        each = np.stack([scores[:, span].max(axis=1) if span else np.zeros(len(scores)) for span in spans], axis=1)
        corners = np.stack([centre_x - wide / 2, centre_y - high / 2, centre_x + wide / 2, centre_y + high / 2], axis=1)
        boxes = corners * (width, height, width, height)
        return [
            Detection(prompt=int(row.argmax()), box=_clipped(box, height, width), score=float(row.max()))
            for row, box in zip(each, boxes, strict=True)
            if row.max() >= self.least
        ]

    def spans(self, ids: list[int], count: int) -> list[list[int]]:
        """The token places of each prompt: a full stop ends one."""
        stop = self.processor.tokenizer.convert_tokens_to_ids(FULL_STOP)
        special = set(self.processor.tokenizer.all_special_ids)
        spans: list[list[int]] = [[]]
        for place, id in enumerate(ids):
            if id == stop:
                spans.append([])
            elif id not in special:
                spans[-1].append(place)
        return (spans + [[]] * count)[:count]


class NetworkSegment:
    """A mask for each box, by SAM and its kin."""

    def __init__(self, model: str = SEGMENTER) -> None:
        self.processor, self.network = _loaded("AutoModelForMaskGeneration", model)

    def __call__(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `data.peel.stages.Segment`."""
        import torch

        inputs = self.processor(images=Image.fromarray(picture), input_boxes=[boxes.tolist()], return_tensors="pt").to(self.network.device)
        with torch.inference_mode():
            outputs = self.network(**inputs, multimask_output=False)
        sizes = [inputs["original_sizes"]] + ([inputs["reshaped_input_sizes"]] if "reshaped_input_sizes" in inputs else [])
        masks = self.processor.post_process_masks(outputs.pred_masks.cpu(), *(size.cpu() for size in sizes))[0]
        return np.asarray(masks[:, 0], bool), outputs.iou_scores[0, :, 0].float().cpu().numpy()


class NetworkDepth:
    """Nearness: relative models as they are, metric ones negated."""

    def __init__(self, model: str = DEPTH) -> None:
        self.processor, self.network = _loaded("AutoModelForDepthEstimation", model)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """See `data.peel.stages.Depth`."""
        import torch

        inputs = self.processor(images=Image.fromarray(picture), return_tensors="pt").to(self.network.device)
        with torch.inference_mode():
            outputs = self.network(**inputs)
        found = self.processor.post_process_depth_estimation(outputs, target_sizes=[picture.shape[:2]])[0]["predicted_depth"]
        return nearness(found.float().cpu().numpy(), self.network.config)


def nearness(depth: np.ndarray, config: Any) -> np.ndarray:
    """Larger is nearer, whatever the model says: inverse depth of relative models, distance of metric ones."""
    metric = getattr(config, "depth_estimation_type", "relative") == "metric" or config.model_type in METRIC
    return (-depth if metric else depth).astype(np.float32)


class NetworkMatte:
    """Alpha from a trimap, by ViTMatte and its kin."""

    def __init__(self, model: str = MATTER) -> None:
        self.processor, self.network = _loaded("AutoModelForImageMatting", model)

    def __call__(self, picture: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        """See `data.peel.stages.Matte`."""
        import torch

        inputs = self.processor(images=Image.fromarray(picture), trimaps=Image.fromarray(trimap), return_tensors="pt")
        with torch.inference_mode():
            alphas = self.network(**inputs.to(self.network.device)).alphas
        height, width = trimap.shape  # the processor pads to the right and below
        return alphas[0, 0, :height, :width].float().cpu().numpy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkModels:
    """Which network does what; each a folder or a hub id, best with a revision."""

    detect: str = DETECTOR
    segment: str = SEGMENTER
    depth: str = DEPTH
    matte: str = MATTER
    """"closed-form" needs no network."""
    fill: str = "stable-diffusion-v1-5/stable-diffusion-inpainting"
    """A Stable Diffusion 1.x model for our own fill, an inpainting model or a plain one (a file too), or "smooth", a membrane without
    detail."""


def _clipped(box: Sequence[float], height: int, width: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return max(0.0, float(x0)), max(0.0, float(y0)), min(float(width), float(x1)), min(float(height), float(y1))


@dataclasses.dataclass(frozen=True)
class NetworkStageSource:
    """The same networks for every picture, loaded when the first one comes; picklable."""

    models: NetworkModels

    @property
    def described(self) -> str:
        """The models, a hub's with the commit that is there, and the library that runs them."""
        import transformers

        from dreamlayer_jax.weights.where import find_model

        fields = dataclasses.asdict(self.models)
        named = (f"{stage} {_named(model, find_model if stage == 'fill' else fetched)}" for stage, model in fields.items())
        return ", ".join([*named, f"transformers {transformers.__version__}"])

    def __call__(self, picture: np.ndarray, wanted: Wanted) -> Stages:
        del picture, wanted
        return _stages(self.models)


@functools.lru_cache(maxsize=1)
def _stages(models: NetworkModels) -> Stages:
    if models.fill == "smooth":
        fill = smooth_fill
    else:
        from dreamlayer_jax.stable_diffusion import load_plain

        fill = DiffusionFill(model=load_plain(models.fill))
    return Stages(
        detect=NetworkDetect(models.detect),
        segment=NetworkSegment(models.segment),
        depth=NetworkDepth(models.depth),
        matte=closed_form if models.matte == "closed-form" else NetworkMatte(models.matte),
        fill=fill,
        described="networks",
    )


def _named(model: str, find: Callable[[str], Path]) -> str:
    """What a person gave; a hub id with the commit that is there."""
    if model in ("smooth", "closed-form") or Path(model).exists():
        return model
    return f"{model.partition('@')[0]}@{find(model).name}"
