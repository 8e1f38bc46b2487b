"""Models of transformers by path, run on PyTorch if that is installed: the evaluation's outside judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dreamlayer_jax.weights.files.errors import WeightsError

PIECE = 32
"""Pictures or prompts at a time."""


def load_folder(folder: Path, option: str, what: str, model_kind: str, processor_kind: str) -> tuple[Any, Any]:
    """A frozen model and its processor, from safetensors.

    Args:
        folder: as `save_pretrained` and the hub have it.
        option: the command line's option that named it.
        what: what is expected in it, for messages.
        model_kind: the model's class in transformers.
        processor_kind: the processor's.

    Raises:
        WeightsError: PyTorch is missing, or the folder does not hold the whole of it.
    """
    import transformers
    from transformers.utils import is_torch_available

    if not is_torch_available():
        raise WeightsError(
            f"{option} needs PyTorch, which is not installed: pip install torch, or leave {option} out for the probe's features"
        )
    wanted = f"expected is a folder with {what}'s config.json, model.safetensors and processor"
    if not (folder / "config.json").is_file():
        raise WeightsError(f"there is no {what} in {folder}; {wanted}")
    try:
        options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        model, report = getattr(transformers, model_kind).from_pretrained(folder, **options)
        processor = getattr(transformers, processor_kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise WeightsError(f"the {what} in {folder} cannot be read ({first}); {wanted}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(f"{folder} lacks {len(missing)} of the {what}'s tensors, such as {missing[0]}; {wanted}")
    return model.eval().requires_grad_(False), processor
