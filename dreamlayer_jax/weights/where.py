"""Where a model is: the shipped ones by name, a file or a folder by its path, any other on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

SHIPPED = ("pocket",)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FILES = ("*.json", "*/*.json", "*/merges.txt", "unet/*.safetensors", "vae/*.safetensors", "text_encoder/*.safetensors", "model.safetensors")
NOT_NEEDED = ("*.fp16.*", "*non_ema*", "safety_checker/*")


def find_model(where: str | Path) -> Path:
    """The file or folder of a model: a shipped one by its name, a path, or a hub id "owner/name", which is downloaded.

    Raises `WeightsError` if there is no such file or folder and the hub has none, or cannot be reached.
    """
    from dreamlayer_jax.weights.files.errors import WeightsError

    path = Path(__file__).parent / where if where in SHIPPED else Path(where)
    if path.exists():
        return path
    if where in SHIPPED:
        raise WeightsError(f"there is no model folder {path}: the installation is not whole")
    wanted = f"there is no model folder {where}: give a model's folder or file, or one of {', '.join(SHIPPED)}"
    if not (isinstance(where, str) and HUB_ID.fullmatch(where)):
        raise WeightsError(wanted)
    try:
        return fetch(where, FILES, NOT_NEEDED)
    except WeightsError as error:
        raise WeightsError(f"{wanted}. {error}") from error


def fetch(hub_id: str, files: tuple[str, ...], not_needed: tuple[str, ...] = ()) -> Path:
    """The folder with the files of a hub repository that match the patterns; `WeightsError` if it cannot be fetched and is not cached."""
    from huggingface_hub import snapshot_download

    from dreamlayer_jax.weights.files.errors import WeightsError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files), ignore_patterns=list(not_needed)))
    except Exception as error:  # the hub's library raises many kinds, those of its HTTP library among them
        reason = " ".join(str(error).split())
        raise WeightsError(f"the Hugging Face hub's {hub_id} cannot be fetched: {reason}") from error


def model_name(path: Path) -> str:
    """What to call a model: its file's or folder's name, or its hub id."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.stem if path.suffix == ".safetensors" else path.resolve().name
