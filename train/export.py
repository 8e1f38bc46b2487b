"""Exported parameters: one safetensors file a stage, keys are paths joined by "/", with a digest of what it holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from dreamlayer_jax.files import new_file, write_json
from train.fingerprint import fingerprint
from train.placing import on_host
from train.processes import by_first
from train.stage import Params

FROZEN = "frozen.json"
_FACTS = "facts"


def save_params(path: Path, params: Params, step: int = 0) -> None:
    """Writes the tree atomically, with the step it was taken at. ValueError if a number is not finite; OSError if it cannot be written."""
    flat = {"/".join(keys): np.ascontiguousarray(value) for keys, value in flatten_dict(jax.device_get(params)).items()}
    broken = [name for name, value in flat.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path} was not written: {len(broken)} of {len(flat)} arrays are not finite, {broken[0]} the first of them")
    try:
        with new_file(path, overwrite=True) as fresh:
            # safetensors writes entries in an order that changes from process to process: one entry, so that equal runs give equal bytes.
            save_file(flat, fresh, {_FACTS: json.dumps({"digest": _tensors_digest(flat, step), "step": step})})
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): is the disk full?") from error


def load_params(path: Path) -> Params:
    """The nested tree of numpy arrays that `save_params` wrote. ValueError if the file is damaged."""
    if not path.is_file():
        stage = path.parent.name
        raise FileNotFoundError(f"{path} does not exist: run the stage {stage!r} of this workdir first (python -m train --stages {stage})")
    facts = _metadata(path)
    try:
        flat = load_file(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if facts.get("digest", digest := _tensors_digest(flat, facts["step"])) != digest:
        raise _damaged(path, "its digest differs from what was written")
    return unflatten_dict({tuple(key.split("/")): value for key, value in flat.items()})


def exported_step(path: Path) -> int:
    """The training step of the parameters in a file that `save_params` wrote."""
    return _metadata(path)["step"]


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "numpy") as file:
            entries = file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    try:
        facts = json.loads(entries[_FACTS]) if set(entries) == {_FACTS} else entries  # entries of their own, before release 0.2
        if set(facts) not in ({"step"}, {"step", "digest"}) or (facts is not entries and "digest" not in facts):
            raise ValueError(f"it has {sorted(facts)}")
        return {**facts, "step": int(facts["step"])}
    except (TypeError, ValueError) as error:
        raise _damaged(path, "it does not say at which step it was written") from error


def _damaged(path: Path, why: str) -> ValueError:
    stage = path.parent.name
    return ValueError(f"{path} is damaged ({why}): write it again from the checkpoint (python -m train export --stages {stage})")


def _tensors_digest(flat: dict[str, np.ndarray], step: int) -> str:
    names = sorted(flat)
    return params_digest([flat[name] for name in names], step, [[name, str(flat[name].dtype), list(flat[name].shape)] for name in names])


def params_digest(params: Any, *facts: Any) -> str:
    """A digest of every leaf, and of `facts`, which are of JSON's types."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for value in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def note_frozen(frozen: Params, stage: Path) -> None:
    """Notes at folder `stage`, at its first start, checksums of what does not learn there; at another, ValueError when these are others."""
    path = stage / FROZEN
    if frozen:
        checksums = fingerprint(frozen).tolist()
        by_first(lambda: path.is_file() or write_json(path, checksums), "frozen parameters noted")
    check_frozen(frozen, stage)


def check_frozen(frozen: Params, stage: Path) -> None:
    """ValueError when the stage at folder `stage` noted other frozen parameters than these."""
    path = stage / FROZEN
    if not path.is_file():
        return
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it if the model that the stage started from is still the same") from error
    now = params_digest(on_host(frozen)) if isinstance(noted, str) else fingerprint(frozen).tolist()  # a string before release 0.2
    if noted != now:
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
