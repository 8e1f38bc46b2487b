"""The named axis over which the layers of a scene are mapped, and the only three ways in which layers speak to each other.

The network is a program for ONE layer. `map_layers` maps it over all layers of the layer batch `[background, foreground…, global]` by
`vmap` (one device), `pmap` (one device a layer) or `shard_map` (a mesh with the axes "data" and "layer", local layers by an inner vmap).
Arrays of a layer batch carry the layer axis first: `(l, b, …)`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

AxisNames = tuple[str, ...]  # outermost first; empty: the program runs alone, for one layer
LAYER: AxisNames = ("layer",)


class Role(enum.IntEnum):
    """What a layer of the layer batch is (paper §2)."""

    BACKGROUND = 0
    FOREGROUND = 1
    GLOBAL = 2


@flax.struct.dataclass
class LayerContext:
    """What the program for one layer is told about its layer. A whole layer batch carries a leading `l` on every field."""

    role: Int[Array, ""]
    """`Role`; foregrounds own their K and V."""
    valid: Bool[Array, " b"]
    """False for padding: such a layer is masked out of every softmax over layers and of every loss."""
    prompt: Float[Array, "b t d"]
    """C_t^i, the layer's prompt embedding; the global layer's is the layers' tokens one after the other (paper §2)."""
    own: Bool[Array, "b t"]
    """Which tokens of `prompt` are this layer's words (strictly between [SOS] and [EOS])."""
    span: Bool[Array, "b t"]
    """Which tokens of the *global* prompt are this layer's words; none for the global layer itself."""
    keep: Bool[Array, "b t"] | None = None
    """Which tokens may be attended to; None for all. Beside a global prompt longer than the tower's, the layers' own have a masked tail."""
    control: dict[str, Any] | None = None
    """What a given picture adds at each attention of the UNet (`models/control.py`), arrays (b, t, c) in a tree like its parameters'."""


def roles(layers: int) -> Int[Array, " l"]:
    """Roles of a layer batch of `layers` images: background, foregrounds, global."""
    if layers < 3:
        raise ValueError(f"a layer batch of {layers} images has no foreground; it needs background, at least one foreground and global")
    return jnp.array([Role.BACKGROUND] + [Role.FOREGROUND] * (layers - 2) + [Role.GLOBAL], dtype=jnp.int32)


def gather(x: Array, axis_names: AxisNames) -> Array:
    """Every layer's `x`, in layer order: shape `(l, *x.shape)`. Alone (no axis), `l` is 1."""
    shape = x.shape
    for name in reversed(axis_names):
        x = jax.lax.all_gather(x, name)
    return x.reshape(-1, *shape)


def from_global(x: Array, role: Int[Array, ""], axis_names: AxisNames) -> Array:
    """The global layer's `x`, in every layer: a masked sum, so one broadcast's worth of traffic."""
    x = jnp.where(role == Role.GLOBAL, x, jnp.zeros_like(x)) if axis_names else x
    for name in axis_names:
        x = jax.lax.psum(x, name)
    return x


def map_layers(program: Callable[[AxisNames], Callable[..., Any]], where: str | Mesh = "vmap") -> Callable[..., Any]:
    """Maps a program for one layer over the layer axis.

    Args:
        program: given the axis names, returns `f(params, *per_layer)`.
        where: "vmap", "pmap" (needs as many devices as layers) or a `Mesh` with the axes "data" and "layer".

    Returns:
        `f(params, *per_layer)` whose `params` are shared and whose other arguments, and results, carry a leading layer axis
        (then `b`, which a mesh shards over "data").
    """
    if isinstance(where, Mesh):
        return _shard_layers(program, where)
    mapped = program(LAYER)
    if where == "vmap":
        return lambda params, *args: jax.vmap(lambda *layer: mapped(params, *layer), axis_name="layer")(*args)
    if where == "pmap":
        return lambda params, *args: jax.pmap(mapped, axis_name="layer", in_axes=(None,) + (0,) * len(args))(params, *args)
    raise ValueError(f'layers can be mapped by "vmap", "pmap" or a Mesh with axes ("data", "layer"), not {where!r}')


def _shard_layers(program: Callable[[AxisNames], Callable[..., Any]], mesh: Mesh) -> Callable[..., Any]:
    if tuple(mesh.axis_names) != ("data", "layer"):
        raise ValueError(f'the mesh has axes {tuple(mesh.axis_names)}; layers are mapped over a mesh with axes ("data", "layer")')
    inner = program(("layer", "layer_local"))

    def spec(x: Any) -> PartitionSpec:
        return PartitionSpec("layer", "data") if np.ndim(x) > 1 else PartitionSpec("layer")

    def sharded(params: Any, *args: Any) -> Any:
        def local(params: Any, *args: Any) -> Any:
            return jax.vmap(lambda *layer: inner(params, *layer), axis_name="layer_local")(*args)

        in_specs = (jax.tree.map(lambda _: PartitionSpec(), params), *jax.tree.map(spec, args))
        out_specs = PartitionSpec("layer", "data")
        # JAX's tracking of what varies over the mesh has no rule for a gather over the inner vmap's axis.
        return jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)(params, *args)

    return sharded
