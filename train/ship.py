"""From the exported stages of a workdir to a model folder that `DreamLayer.from_pretrained` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.captions import all_words
from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.weights.formats.checkpoint_folder import save_pretrained
from train.export import exported_step, load_params
from train.records import read_json_object
from train.scene_cache import SceneSet, open_world
from train.stage import Params

_OBJECTS = {"emoji": "Noto Color Emoji cut-outs (SIL Open Font License 1.1)", "shapes": "drawn shapes"}


def ship(config: DreamLayerConfig, scenes: SceneSet, workdir: Path, folder: Path, start: str | None = None) -> None:
    """Joins the three stages' parameters (bfloat16), the tokenizer, the vocabulary and a model card, which names the model that the
    diffusion stage went on from, `start`.

    Raises FileNotFoundError where a stage is not exported yet, FileExistsError where `folder` is there already.
    """
    params: Params = {}
    for stage in ("autoencoder", "layer_decoder", "diffusion"):
        exported = load_params(workdir / stage / "params.safetensors")
        params |= {name: tree for name, tree in exported.items() if name not in params}
    world = open_world(scenes.world)
    vocabulary = {
        "backgrounds": sorted(place.name for place in world.places),
        "foregrounds": sorted(cutout.name for cutout in world.cutouts),
        "words": sorted(all_words(world)),
    }
    save_pretrained(folder, config, params, workdir / "tokenizer", vocabulary, model_card(config, scenes, workdir, start))


def model_card(config: DreamLayerConfig, scenes: SceneSet, workdir: Path, start: str | None = None) -> str:
    """Markdown: what it is, its data, and how each stage was trained, from the run's own records."""
    lines = [
        f"# DreamLayer {config.name}",
        "",
        f"{config.sample_size}x{config.sample_size} pixels, trained from scratch by this project's own commands; bfloat16 safetensors.",
        "",
        f"Data: {scenes.scenes} scenes of `data`, world `{scenes.world}`, split `{scenes.split}`, seeds from {scenes.first_seed}: "
        f"{_OBJECTS.get(scenes.world, 'cut-outs of a folder')} on painted backgrounds, 2 to 4 layers.",
        "Limits: it knows the words of `vocabulary.json` only, and nothing of photographs.",
        *([f"The diffusion model went on from that of `{start}`, carried over to these latents (`train/carry_over.py`)."] if start else []),
        "",
        *stage_table(workdir, ("autoencoder", "layer_decoder", "diffusion")),
    ]
    return "\n".join(lines) + "\n"


def stage_table(workdir: Path, stages: Sequence[str]) -> list[str]:
    """The lines of a Markdown table: how each exported stage was trained, from the run's own records."""
    lines = ["| stage | steps | starts | last start | commit | device |", "|---|---|---|---|---|---|"]
    for stage in stages:
        starts: list[dict[str, Any]] = _starts(workdir / stage / "run.json")
        step, start = exported_step(workdir / stage / "params.safetensors"), starts[-1]
        command = "python -m train " + " ".join(start["command"][1:])
        machine = f"{start['device']}, {start['cores']} cores"
        lines.append(f"| {stage} | {step} | {len(starts)} | `{command}` | {start['commit']} | {machine} |")
    return lines


def _starts(path: Path) -> list[dict[str, Any]]:
    starts = read_json_object(path, "the model card needs it; run the stage again for a moment to have it written").get("starts")
    if not starts:
        raise ValueError(f"{path} names no start of the stage: run it again for a moment to have one written")
    return starts
