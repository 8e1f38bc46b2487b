"""Where a model computes and in which number format: one value from `DreamLayer.from_pretrained` and `--mesh` down to `predict`.

A mesh has two axes: "data" for scenes, "layer" for the layers of a scene. Without one, everything is on one device (`layers="vmap"`), or
on one device a layer (`layers="pmap"`).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "layer")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
LEAST_SHARDED = 2**16
"""Arrays with fewer entries are on every device whole: gathering them costs more than they weigh."""

Exchange = Literal["gather", "ring"]
Rules = tuple[tuple[str, tuple[str, ...]], ...]
"""Regular expressions on a parameter's path "a/b/kernel", each with the mesh axes that divide such parameters; the first match counts."""
REPLICATED: Rules = ((".*", ()),)
FSDP: Rules = ((".*", ("data",)),)
"""Parameters, and what has their shapes (gradients, optimizer state, EMA), divided over the axis of scenes (Rajbhandari et al. 2020)."""


class PlaceError(ValueError):
    """A mesh that cannot be made, or work that cannot be divided over it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how the networks run. Equal places compile to the same program: it is a static argument of jitted functions."""

    mesh: Mesh | None = None
    """Devices with the axes "data" and "layer"; None: see `layers`."""
    dtype: Any = jnp.float32
    """Of activations; parameters, norms, softmax and the schedule stay float32."""
    layers: Literal["vmap", "pmap"] = "vmap"
    """Without a mesh: all layers on one device, or one device a layer."""
    exchange: Exchange = "gather"
    """How layer-shared attention sees the keys of other devices: all gathered once a block, or passed round a ring."""
    rules: Rules = REPLICATED
    """How parameters lie on the mesh."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", jnp.dtype(self.dtype))
        if self.mesh is not None and tuple(self.mesh.axis_names) != MESH_AXES:
            raise PlaceError(f"the mesh has axes {tuple(self.mesh.axis_names)}; layers are mapped over a mesh with axes {MESH_AXES}")
        if self.layers not in ("vmap", "pmap"):
            raise PlaceError(f'without a mesh layers are mapped by "vmap" or "pmap", not {self.layers!r}')
        if self.exchange not in ("gather", "ring"):
            raise PlaceError(f'keys and values are exchanged by "gather" or "ring", not {self.exchange!r}')

    @property
    def is_spread(self) -> bool:
        """Whether a scene's layers may lie on several devices."""
        return self.mesh is not None or self.layers == "pmap"

    @property
    def replicated(self) -> NamedSharding | None:
        """Every device holds all of it; None without a mesh."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    @property
    def of_scenes(self) -> NamedSharding | None:
        """Of arrays whose first axis is b."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def of_layers(self) -> NamedSharding | None:
        """Of a layer batch (l, b, …), where the mesh's axis divides l."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("layer", "data"))

    def of_parameters(self, tree: Any) -> Any:
        """The sharding of every leaf of `tree` (parameters, or a state that holds them), by `rules`; None without a mesh.

        A divided array is cut along its longest axis that the mesh divides; where none is, it stays whole.
        """
        return jax.tree_util.tree_map_with_path(lambda path, leaf: self._of_parameter(path, leaf), tree)

    def _of_parameter(self, path: Sequence[Any], leaf: Any) -> NamedSharding | None:
        if self.mesh is None:
            return None
        name = "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
        axes = next((axes for pattern, axes in self.rules if re.fullmatch(pattern, name)), ())
        shape = np.shape(leaf)
        parts = math.prod(self.mesh.shape[axis] for axis in axes)
        fitting = [axis for axis, size in enumerate(shape) if size % parts == 0]
        if parts == 1 or math.prod(shape) < LEAST_SHARDED or not fitting:
            return self.replicated
        longest = max(fitting, key=lambda axis: shape[axis])
        return NamedSharding(self.mesh, PartitionSpec(*(axes if axis == longest else None for axis in range(len(shape)))))


def make_place(
    mesh: str | Mesh | None = None,
    dtype: Any = None,
    exchange: Exchange = "gather",
    rules: Rules = REPLICATED,
    devices: Sequence[jax.Device] | None = None,
) -> Place:
    """A place from what a person gives.

    Args:
        mesh: "data=4,layer=2" (an axis left out is 1; -1 is the rest of the devices), "pmap" (one device a layer), a `Mesh`, or None.
        dtype: of activations, also as a word; by default bfloat16 on GPU and TPU, float32 on CPU.
        exchange: see `Place`.
        rules: see `Place`.
        devices: all of JAX's by default.

    Raises:
        PlaceError: the mesh cannot be made of these devices, or the dtype is not known.
    """
    if isinstance(mesh, str) and mesh != "pmap":
        mesh = make_mesh(mesh, devices)
    if dtype is None:
        platform = mesh.devices.flat[0].platform if isinstance(mesh, Mesh) else jax.default_backend()
        dtype = jnp.float32 if platform == "cpu" else jnp.bfloat16
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise PlaceError(f"dtype is {dtype!r}; known are {', '.join(DTYPES)}")
        dtype = DTYPES[dtype]
    if mesh == "pmap":
        return Place(dtype=dtype, layers="pmap", exchange=exchange, rules=rules)
    return Place(mesh=mesh, dtype=dtype, exchange=exchange, rules=rules)


def make_mesh(text: str, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh that `text` names, such as "data=4,layer=2". A mesh may use fewer devices than there are, if one process has them all."""
    devices = jax.devices() if devices is None else list(devices)
    there = f"{len(devices)} {devices[0].platform} device{'s' if len(devices) > 1 else ''}"
    sizes = dict.fromkeys(MESH_AXES, 1)
    for part in text.split(","):
        name, _, size = (word.strip() for word in part.partition("="))
        if name not in sizes or not re.fullmatch(r"-1|[1-9]\d*", size):
            raise PlaceError(f"the mesh {text!r} has the part {part.strip()!r}; give data=D,layer=L with whole numbers, -1 for the rest")
        sizes[name] = int(size)
    known = math.prod(size for size in sizes.values() if size > 0)
    rest = [name for name, size in sizes.items() if size == -1]
    if len(rest) > 1:
        raise PlaceError(f"the mesh {text!r} leaves both axes open; give one of data and layer a number")
    if rest:
        if len(devices) % known:
            raise PlaceError(f"the mesh {text!r} cannot divide {there} by {known}")
        sizes[rest[0]] = len(devices) // known
    needed = math.prod(sizes.values())
    if needed > len(devices):
        raise PlaceError(f"the mesh {text!r} needs {needed} devices, but there are only {there}")
    if needed < len(devices) and len({device.process_index for device in devices}) > 1:
        raise PlaceError(f"the mesh {text!r} uses {needed} of {there}; over several processes it must use all of them")
    return jax.make_mesh(tuple(sizes.values()), MESH_AXES, (AxisType.Auto,) * 2, devices=devices[:needed])
