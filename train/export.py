"""Exported parameters: one safetensors file a stage, keys are paths joined by "/"."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from train.stage import Params

FROZEN = "frozen.json"


def save_params(path: Path, params: Params, step: int = 0) -> None:
    """Writes the tree atomically, with the step it was taken at."""
    flat = {"/".join(keys): np.ascontiguousarray(value) for keys, value in flatten_dict(jax.device_get(params)).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + f".{os.getpid()}.partial")
    save_file(flat, temporary, {"step": str(step)})
    os.replace(temporary, path)


def exported_step(path: Path) -> int:
    """The training step of the parameters in a file that `save_params` wrote."""
    with safe_open(path, "numpy") as file:
        return int(file.metadata()["step"])


def params_digest(params: Params, *facts: Any) -> str:
    """A digest of every leaf, and of `facts`, which are of JSON's types."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for value in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def note_frozen(frozen: Params, stage: Path) -> None:
    """Notes at folder `stage`, at its first start, a digest of what does not learn there; at another, ValueError when these are others."""
    path = stage / FROZEN
    if path.is_file():
        check_frozen(frozen, stage)
    elif frozen:
        temporary = path.with_name(path.name + ".partial")
        temporary.write_text(json.dumps(params_digest(frozen)))
        os.replace(temporary, path)


def check_frozen(frozen: Params, stage: Path) -> None:
    """ValueError when the stage at folder `stage` noted other frozen parameters than these."""
    path = stage / FROZEN
    if path.is_file() and json.loads(path.read_text()) != params_digest(frozen):
        raise ValueError(
            f"{stage} was trained beside other frozen parameters: the model it started from has changed since. "
            "Give that model back as it was, or use another workdir."
        )


def lay_over_exported(params: Params, stage: Path) -> Params:
    """`params`, a stage's whole tree, with what is exported at its folder `stage` in place; ValueError where the rest is not as it was."""
    exported: dict[tuple[str, ...], Any] = flatten_dict(load_params(stage / "params.safetensors"))
    flat = flatten_dict(params)
    check_frozen(unflatten_dict({path: value for path, value in flat.items() if path not in exported}), stage)
    return unflatten_dict(flat | {path: jax.device_put(value) for path, value in exported.items()})


def load_params(path: Path) -> Params:
    """The nested tree of numpy arrays that `save_params` wrote."""
    if not path.is_file():
        stage = path.parent.name
        raise FileNotFoundError(f"{path} does not exist: run the stage {stage!r} of this workdir first (python -m train --stages {stage})")
    return unflatten_dict({tuple(key.split("/")): value for key, value in load_file(path).items()})
