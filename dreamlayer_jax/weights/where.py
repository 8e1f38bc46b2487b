"""Where a model is: the shipped ones by name, a file or a folder by its path, any other on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

SHIPPED = ("pocket",)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
NETWORKS = ("unet", "vae", "text_encoder")
FILES = ("*.json", "*/*.json", "*/merges.txt", *(f"{network}/*.safetensors" for network in NETWORKS), "model.safetensors")
HALF = tuple(f"{network}/*.fp16*.safetensors" for network in NETWORKS)  # for repositories that have nothing else
NOT_NEEDED = ("*non_ema*", "safety_checker/*")
MOVED = {  # removed from the hub by their owner
    f"runwayml/{name}": f"stable-diffusion-v1-5/{name}" for name in ("stable-diffusion-v1-5", "stable-diffusion-inpainting")
}


def find_model(source: str | Path, download: bool = True) -> Path:
    """The file or folder of a model: a shipped one by its name, a path, or a hub id, which is downloaded, if it may be.

    A hub id is "owner/name", or "owner/name@revision": a branch, a tag or a commit.

    Raises `WeightsError` if there is no such file or folder and the hub has none, or cannot be reached.
    """
    from dreamlayer_jax.weights.files.errors import WeightsError

    path = Path(__file__).parent / source if source in SHIPPED else Path(source)
    if path.exists():
        return path
    if source in SHIPPED:
        raise WeightsError(f"there is no model folder {path}: the installation is not whole")
    wanted = f"there is no model folder {source}: give a model's folder or file, or one of {', '.join(SHIPPED)}"
    if not (isinstance(source, str) and HUB_ID.fullmatch(source)):
        raise WeightsError(wanted)
    try:
        return _fetch_model(source, download)
    except WeightsError as error:
        moved = f" {source} was removed from the hub; the same model is there as {MOVED[source]}: give that." if source in MOVED else ""
        raise WeightsError(f"{wanted}.{moved} {error}") from error


def _fetch_model(hub_id: str, download: bool) -> Path:
    """The repository's folder, with half precision where there is nothing else."""
    folder = fetch(hub_id, FILES, ("*.fp16*", *NOT_NEEDED), download)
    if (folder / "model_index.json").is_file() and not all(any((folder / network).glob("*.safetensors")) for network in NETWORKS):
        folder = fetch(hub_id, HALF, NOT_NEEDED, download)
    if download and not any(folder.rglob("*.safetensors")):
        _explain_what_is_there(hub_id)
    return folder


def _explain_what_is_there(hub_id: str) -> None:
    """Raises `WeightsError` for a repository without a model that can be read from it, if the hub says what it holds."""
    from huggingface_hub import list_repo_files

    from dreamlayer_jax.weights.files.errors import WeightsError
    from dreamlayer_jax.weights.files.pickles import SUFFIXES, pickle_message

    try:
        name, _, revision = hub_id.partition("@")
        names = sorted(list_repo_files(name, **({"revision": revision} if revision else {})))
    except Exception:  # out of reach: whatever reads the folder will say what it lacks
        return
    if single := [name for name in names if name.endswith(".safetensors")]:
        raise WeightsError(f"the Hugging Face hub's {hub_id} holds single files ({', '.join(single[:8])}): download one and give its path")
    if pickles := [name for name in names if name.endswith(SUFFIXES)]:
        raise WeightsError(f"the Hugging Face hub's {hub_id} holds pickles alone. {pickle_message(Path(pickles[0]))}")
    raise WeightsError(f"the Hugging Face hub's {hub_id} holds no weights; it holds {', '.join(names[:8]) or 'nothing'}")


def fetch(hub_id: str, files: tuple[str, ...], not_needed: tuple[str, ...] = (), download: bool = True) -> Path:
    """The folder with the files of a hub repository that match the patterns; `WeightsError` if it cannot be fetched and is not cached.

    Without `download`, what the hub's cache on this machine has.
    """
    from huggingface_hub import snapshot_download

    from dreamlayer_jax.weights.files.errors import WeightsError

    name, _, revision = hub_id.partition("@")
    options = {"allow_patterns": list(files), "ignore_patterns": list(not_needed), "local_files_only": not download}
    try:
        return Path(snapshot_download(name, **options, **({"revision": revision} if revision else {})))
    except Exception as error:  # the hub's library raises many kinds, those of its HTTP library among them
        reason = " ".join(str(error).split())
        raise WeightsError(f"the Hugging Face hub's {hub_id} cannot be fetched: {reason}") from error


def model_name(path: Path) -> str:
    """What to call a model: its file's or folder's name, or its hub id."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.stem if path.suffix == ".safetensors" else path.resolve().name
