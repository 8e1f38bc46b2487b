"""Model folders, ours and diffusers', with one file changed, added or led elsewhere."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamlayer_jax.cli.vocabulary import read_vocabulary
from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.formats.checkpoint_folder import read_folder_config
from dreamlayer_jax.weights.formats.manifest import check_folder
from dreamlayer_jax.weights.load import load_model

POCKET = Path(__file__).parents[2] / "dreamlayer_jax" / "weights" / "pocket"
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def models(plain_model: Any) -> list[dict[str, bytes]]:
    """The files of the shipped model without its weights, of a diffusers folder, and of the same with an index of shards."""
    ours, theirs = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (POCKET, plain_model.folder)
    )
    load_model(plain_model.folder)  # what is imported on the way is no part of any input
    ours["model.safetensors"] = theirs["vae/diffusion_pytorch_model.safetensors"]
    from safetensors.numpy import load

    keys = list(load(theirs["unet/diffusion_pytorch_model.safetensors"]))
    sharded = dict(theirs)
    sharded["unet/shard.safetensors"] = sharded.pop("unet/diffusion_pytorch_model.safetensors")
    sharded[INDEX] = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(keys[:8], "shard.safetensors")}).encode()
    return [ours, theirs, sharded]


def test_models(campaign: Callable[..., None], mutate: Callable[..., bytes], alter: Callable[..., str], models: list) -> None:
    def model_folders(chance: random.Random, folder: Path) -> None:
        files = dict(chance.choice(models))
        listings = [name for name in files if name.endswith(".json")]
        name = chance.choice(listings if chance.random() < 0.8 else list(files))
        if name in listings and chance.random() < 0.8:
            files[name] = alter(json.loads(files[name]), chance).encode()
        else:
            files[name] = mutate(files[name], chance)
        if chance.random() < 0.1:
            files[chance.choice(("tokenizer/tokenizer.json", "extra.json", ".hidden"))] = b"{}"
        if "manifest.json" in files and name != "manifest.json" and chance.random() < 0.7:
            sums = {other: hashlib.sha256(content).hexdigest() for other, content in files.items() if other != "manifest.json"}
            files["manifest.json"] = json.dumps({"format": 1, "kind": "model", "sha256": sums}).encode()
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        if chance.random() < 0.1:
            (folder / name).unlink()
            (folder / name).symlink_to(chance.choice(("/etc/passwd", "/dev/zero", "/", "nowhere")))
        if "manifest.json" in files:
            read_vocabulary(folder)
            read_folder_config(folder)
            check_folder(folder, "model")
        load_model(folder)

    campaign(0.02, model_folders, (WeightsError,))
