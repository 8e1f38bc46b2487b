"""An Orbax checkpoint of our parameter tree, with our config.json (and, for its own, a tokenizer/) in it or beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.models.init import networks_of, param_shapes
from dreamlayer_jax.models.params import ParamPath, Params
from dreamlayer_jax.weights.files.errors import WeightsError, mismatch

TREE = "_METADATA"  # what Orbax writes into the folder that holds a tree's arrays


def orbax_checkpoint(folder: Path) -> Path | None:
    """The folder with the arrays: `folder` itself, or the one below it (at most two deep). None if there is none."""
    found = [path.parent for pattern in (TREE, f"*/{TREE}", f"*/*/{TREE}") for path in sorted(folder.glob(pattern))]
    if len(found) > 1:
        raise WeightsError(f"{folder} holds {len(found)} Orbax checkpoints ({', '.join(str(path) for path in found)}); give one of them")
    return found[0] if found else None


def beside(checkpoint: Path, top: Path, name: str) -> Path | None:
    """The file or folder `name` in the checkpoint, in a folder between it and `top`, or beside it; None if there is none."""
    places = [checkpoint, *checkpoint.parents]
    last = max(places.index(top), 1) if top in places else 1
    return next((place / name for place in places[: last + 1] if (place / name).exists()), None)


def load_orbax(checkpoint: Path, config: DreamLayerConfig) -> Params:
    """Float32 parameters of all networks; "layer_decoder" may be absent.

    Raises `WeightsError` if the checkpoint cannot be read, or its tree is not the configuration's; every path that differs is listed.
    """
    import orbax.checkpoint as ocp  # half a second that only such a checkpoint needs

    with ocp.PyTreeCheckpointer() as checkpointer:
        try:
            metadata = checkpointer.metadata(checkpoint.absolute())
            found = flatten_dict(_plain(metadata.item_metadata.tree if hasattr(metadata, "item_metadata") else metadata))
        except Exception as error:  # Orbax raises many kinds
            raise WeightsError(f"the Orbax checkpoint {checkpoint} cannot be read ({error}); copy it again") from error
        networks = [name for name in networks_of(config) if name != "layer_decoder" or any(path[0] == name for path in found)]
        expected = flatten_dict(param_shapes(config, networks))
        _require(checkpoint, found, expected)
        wanted = unflatten_dict({path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for path, leaf in expected.items()})
        restore_args = ocp.checkpoint_utils.construct_restore_args(
            wanted, jax.tree.map(lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[0]), wanted)
        )
        try:
            return checkpointer.restore(checkpoint.absolute(), args=ocp.args.PyTreeRestore(item=wanted, restore_args=restore_args))
        except Exception as error:
            raise WeightsError(f"the Orbax checkpoint {checkpoint} is damaged ({error}); copy it again") from error


def _plain(tree: Any) -> Any:
    return {str(key): _plain(child) for key, child in tree.items()} if isinstance(tree, Mapping) else tree


def _require(checkpoint: Path, found: Mapping[ParamPath, Any], expected: Mapping[ParamPath, Any]) -> None:
    missing = ["/".join(path) for path in expected if path not in found]
    unused = ["/".join(path) for path in found if path not in expected]
    misshaped = [
        f"{'/'.join(path)}: the checkpoint has {tuple(found[path].shape)}, the model {leaf.shape}"
        for path, leaf in expected.items()
        if path in found and tuple(found[path].shape) != leaf.shape
    ]
    groups = (("missing", sorted(missing)), ("not used by the model", sorted(unused)), ("of another shape", sorted(misshaped)))
    if missing or unused or misshaped:
        raise mismatch(f"the Orbax checkpoint {checkpoint} and its config.json do not belong together", groups)
