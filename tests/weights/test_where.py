"""Hub ids: what is asked for is what the loaders read, and an answer that is no answer is one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

from dreamlayer_jax.weights.files.errors import WeightsError
from dreamlayer_jax.weights.where import find_model, model_name

NEEDED = (  # of Stable Diffusion 1.5's repository
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "scheduler/scheduler_config.json",
)
NOT_NEEDED = (
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "safety_checker/model.safetensors",
    "v1-5-pruned.safetensors",
    "v1-5-pruned.ckpt",
)
HALF = (
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "text_encoder/model.fp16.safetensors",
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """`hub(names)` is a hub whose every repository holds these files; gives the folder into which what is asked for comes."""

    def repository(names: Iterable[str]) -> Path:
        def snapshot_download(hub_id: str, allow_patterns: list[str], ignore_patterns: list[str], local_files_only: bool) -> Path:
            assert not local_files_only
            for name in names:
                wanted, not_wanted = (any(fnmatch(name, pattern) for pattern in patterns) for patterns in (allow_patterns, ignore_patterns))
                if wanted and not not_wanted:
                    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / name).touch()
            return tmp_path

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda hub_id: list(names))
        return tmp_path

    return repository


def fetched(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_hub_id_fetches_what_is_needed_and_no_more(hub) -> None:
    folder = hub((*NEEDED, *NOT_NEEDED, *HALF))
    assert find_model("owner/name") == folder
    assert fetched(folder) == set(NEEDED)


def test_half_precision_is_fetched_where_there_is_nothing_else(hub) -> None:
    folder = hub((*(name for name in NEEDED if not name.endswith(".safetensors")), *NOT_NEEDED, *HALF))
    find_model("owner/name")
    assert fetched(folder) == {name for name in NEEDED if not name.endswith(".safetensors")} | set(HALF)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("model_index.json", "unet/diffusion_pytorch_model.bin"), "holds pickles alone. unet/diffusion_pytorch_model.bin is a pickle"),
        (("README.md", "v1-5.ckpt"), r"holds pickles alone. v1-5\.ckpt is a pickle, .*weights_only=True"),
        (("README.md", "dreamy.safetensors"), r"holds single files \(dreamy.safetensors\): download one and give its path"),
        (("README.md",), "holds no weights; it holds README.md"),
    ],
)
def test_repositories_without_a_model_to_read(hub, names: tuple[str, ...], message: str) -> None:
    hub(names)
    with pytest.raises(WeightsError, match=message):
        find_model("owner/name")


def test_the_removed_repository_is_named_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"was removed from the hub; .* as stable-diffusion-v1-5/stable-diffusion-v1-5: give that"):
        find_model("runwayml/stable-diffusion-v1-5")


def test_offline_it_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsError, match=r"there is no model folder owner/name: .* the Hugging Face hub's owner/name cannot be fetched: "
    ):
        find_model("owner/name")
    with pytest.raises(
        WeightsError, match=r"there is no model folder \./some/where/deep: give a model's folder or file, or one of pocket$"
    ):
        find_model("./some/where/deep")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hub/models--owner--name/snapshots/0123abc", "owner/name"),
        ("models/v1-5-pruned.safetensors", "v1-5-pruned"),
        ("models/stable-diffusion-v1-5", "stable-diffusion-v1-5"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert model_name(Path(path)) == name


def test_a_revision_may_follow_a_hub_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(hub_id: str, *, revision: str | None = None, **options: object) -> Path:
        asked.append((hub_id, revision))
        (tmp_path / "model.safetensors").touch()
        return tmp_path

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert find_model("owner/name@0123abc") == find_model("owner/name") == tmp_path
    assert asked == [("owner/name", "0123abc"), ("owner/name", None)]
