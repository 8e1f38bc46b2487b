"""Pickles are never read: reading one runs whatever code its author put into it."""

from __future__ import annotations

from pathlib import Path

from dreamlayer_jax.weights.files.errors import WeightsError

SUFFIXES = (".ckpt", ".bin", ".pt", ".pth", ".pkl", ".pickle")
FIRST_BYTES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save's zip archive; a bare pickle
# A safetensors file starts with its header's length in 8 bytes, and then "{".
HEADER_START = 8


def refuse_pickle(file: str | Path) -> None:
    """Raises `WeightsError`, with the way to convert, if `file` is a pickle by its name or by its first bytes."""
    if is_pickle(Path(file)):
        raise WeightsError(pickle_message(Path(file)))


def is_pickle(file: Path) -> bool:
    """Whether the name or the first bytes are those of a pickle."""
    if file.suffix.lower() in SUFFIXES:
        return True
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        start = opened.read(HEADER_START + 1)
    return start.startswith(FIRST_BYTES) and start[HEADER_START:] != b"{"


def pickle_message(file: Path) -> str:
    """Why `file` is refused, and what to do."""
    return (
        f"{file} is a pickle, and reading a pickle runs whatever code is in it, so this library never does. "
        "Get the model as .safetensors, or convert the file once where PyTorch is installed (weights_only=True reads nothing but tensors): "
        f"python -c \"import torch, safetensors.torch as s; d = torch.load('{file.name}', weights_only=True); d = d.get('state_dict', d); "
        "s.save_file({k: v.contiguous().clone() for k, v in d.items() if torch.is_tensor(v)}, "
        f"'{file.stem}.safetensors')\""
    )
