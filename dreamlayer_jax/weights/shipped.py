"""Where a model's folder is: the shipped ones by name, any other by its path."""

from __future__ import annotations

from pathlib import Path

SHIPPED = ("pocket",)


def model_folder(model: str | Path) -> Path:
    """The folder of a shipped model by name, or `model` itself as a path. Raises `WeightsError` if there is no such folder."""
    folder = Path(__file__).parent / model if model in SHIPPED else Path(model)
    if not folder.is_dir():
        from dreamlayer_jax.weights.convert import WeightsError

        remedy = "the installation is not whole" if model in SHIPPED else f"give a model's folder, or one of {', '.join(SHIPPED)}"
        raise WeightsError(f"there is no model folder {folder}: {remedy}")
    return folder
