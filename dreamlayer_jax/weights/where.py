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
    from dreamlayer_jax.weights.errors import WeightsError

    path = Path(__file__).parent / where if where in SHIPPED else Path(where)
    if path.exists():
        return path
    if where in SHIPPED:
        raise WeightsError(f"there is no model folder {path}: the installation is not whole")
    wanted = f"there is no model folder {where}: give a model's folder or file, or one of {', '.join(SHIPPED)}"
    if not (isinstance(where, str) and HUB_ID.fullmatch(where)):
        raise WeightsError(wanted)
    import httpx
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(where, allow_patterns=FILES, ignore_patterns=NOT_NEEDED))
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{wanted}. As a hub id it cannot be fetched either: {reason}") from error


def model_name(path: Path) -> str:
    """What to call a model: its file's or folder's name, or its hub id."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.stem if path.suffix == ".safetensors" else path.resolve().name
