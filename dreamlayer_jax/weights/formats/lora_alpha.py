"""The scale of each module of a LoRA file: alpha / rank, and where its alpha is written.

kohya writes a tensor `alpha` beside down and up. peft writes its configuration instead: into the file's metadata (diffusers,
`lora_adapter_metadata`), or into adapter_config.json beside the file (peft alone). Where there is neither, the scale is 1.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamlayer_jax.weights.files.errors import WeightsError

METADATA = "lora_adapter_metadata"
BESIDE = "adapter_config.json"
PEFT_FILE = "adapter_model.safetensors"
NETWORKS = ("unet", "text_encoder")
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")  # such a start of training takes something away from the base's own weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alphas:
    """peft's configuration of each network; empty for files that have none."""

    configurations: Mapping[str, Mapping[str, Any]]

    def scale(self, network: str, module: str, rank: int, alpha: float | None) -> float:
        """What down and up of a module are multiplied by; `alpha` is what the file itself says beside them."""
        configuration = self.configurations.get(network)
        if alpha is not None or configuration is None:
            return (alpha or rank) / rank
        patterns = configuration.get("alpha_pattern") or {}
        fitting = (value for pattern, value in patterns.items() if module == pattern or module.endswith(f".{pattern}"))
        alpha = next(fitting, configuration.get("lora_alpha")) or rank
        return alpha / (rank**0.5 if configuration.get("use_rslora") else rank)


def read_alphas(file: Path, metadata: Mapping[str, str]) -> Alphas:
    """peft's configurations in the metadata of `file` or beside it.

    Raises `WeightsError` where they cannot be read, or ask for what is not a plain LoRA (DoRA, a start that changes the base).
    """
    if METADATA in metadata:
        source, tree = f"{METADATA} of {file}", _read(metadata[METADATA], f"{METADATA} of {file}")
        networks = {network: {} for network in NETWORKS}
        for field, value in tree.items():
            network, _, name = field.partition(".")
            if network in NETWORKS:
                networks[network][name] = value
        configurations = {network: fields for network, fields in networks.items() if fields} or dict.fromkeys(NETWORKS, tree)
    elif file.name == PEFT_FILE and (file.parent / BESIDE).is_file():
        source = str(file.parent / BESIDE)
        configurations = dict.fromkeys(NETWORKS, _read((file.parent / BESIDE).read_text(encoding="utf-8"), source))
    else:
        return Alphas(configurations={})
    for configuration in configurations.values():
        _check(source, configuration)
    return Alphas(configurations=configurations)


def _read(text: str, source: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{source} is damaged ({error}); download or copy it again") from error
    if not isinstance(tree, dict):
        raise WeightsError(f"{source} is damaged (it is no JSON object); download or copy it again")
    return tree


def _check(source: str, configuration: Mapping[str, Any]) -> None:
    start = configuration.get("init_lora_weights")
    patterns = configuration.get("alpha_pattern") or {}
    wrong = None
    if configuration.get("use_dora"):
        wrong = "use_dora is true: it is a DoRA; only LoRA and LoCon are read"
    elif isinstance(start, str) and start.lower().startswith(CHANGES_THE_BASE):
        wrong = f"init_lora_weights is {start!r}, which changes the base's own weights; only plain LoRA is read"
    elif not isinstance(patterns, Mapping) or not all(
        _is_number(value) for value in [configuration.get("lora_alpha", 1), *patterns.values()]
    ):
        wrong = "lora_alpha and alpha_pattern must be numbers, one a module"
    elif special := [pattern for pattern in patterns if not pattern.replace(".", "").replace("_", "").isalnum()]:
        wrong = f"alpha_pattern has {special[0]!r}, a regular expression; only module names are read"
    if wrong:
        raise WeightsError(f"{source}: {wrong}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
