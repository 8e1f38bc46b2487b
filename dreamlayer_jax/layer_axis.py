"""The named axis over which the layers of a scene are mapped, and the only ways in which layers speak to each other.

The network is a program for ONE layer. `map_layers` maps it over all layers of the layer batch `[background, foreground…, global]` by
`vmap` (one device), `pmap` (one device a layer) or `shard_map` (a mesh with the axes "data" and "layer", local layers by an inner vmap).
Arrays of a layer batch carry the layer axis first: `(l, b, …)`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.place import Exchange, Place, PlaceError

ON_DEVICES = "layer"  # the axis over devices: of a mesh, or of pmap
LOCAL = "layer_local"  # the axis of the layers that one device holds: of vmap
AxisNames = tuple[str, ...]  # outermost first; empty: the program runs alone, for one layer
LAYER: AxisNames = (LOCAL,)


class Role(enum.IntEnum):
    """What a layer of the layer batch is (paper §2)."""

    BACKGROUND = 0
    FOREGROUND = 1
    GLOBAL = 2


@flax.struct.dataclass
class LayerContext:
    """What the program for one layer is told about its layer. A whole layer batch carries a leading `l` on every array."""

    role: Int[Array, ""]
    """`Role`; foregrounds own their K and V."""
    valid: Bool[Array, " b"] | None
    """False for padding: such a layer is masked out of every softmax over layers and of every loss. None: nothing is padded."""
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
    guided: bool = flax.struct.field(pytree_node=False, default=True)
    """Whether the program holds Eq. 9 at all; False once every t is under T_G."""
    maps: bool = flax.struct.field(pytree_node=False, default=True)
    """Whether the context maps are a result. Where they are none, and not `guided`, the program does not make them."""
    keys: Literal["all", "global"] = flax.struct.field(pytree_node=False, default="all")
    """Whose keys layer-shared attention sees: all layers' (Eq. 10-11), or the global layer's alone (Eq. 14-16, inversion)."""
    exchange: Exchange = flax.struct.field(pytree_node=False, default="gather")
    """How keys and values come from other devices, see `Place`."""


def roles(layers: int) -> Int[Array, " l"]:
    """Roles of a layer batch of `layers` images: background, foregrounds, global."""
    if layers < 2:
        raise ValueError(f"a layer batch of {layers} images has no layer; it needs at least a background and global")
    return jnp.array([Role.BACKGROUND] + [Role.FOREGROUND] * (layers - 2) + [Role.GLOBAL], dtype=jnp.int32)


def split(x: Any) -> tuple[Any, Any, Any]:
    """A layer batch (l, …) to its background (…), foregrounds (l - 2, …) and global layer (…)."""
    return x[0], x[1:-1], x[-1]


def join(background: Any, foregrounds: Any, whole: Any) -> Any:
    """The layer batch of a background (…), foregrounds (f, …) and a global layer (…); NumPy in, NumPy out."""
    xp = foregrounds.__array_namespace__()
    return xp.concat([background[None], foregrounds, whole[None]])


def is_global(layers: int) -> Bool[np.ndarray, " l"]:
    """Which of a layer batch of `layers` images is the global one."""
    return np.arange(layers) == layers - 1


def is_layer(layers: int) -> Bool[np.ndarray, " l"]:
    """Which of a layer batch of `layers` images are layers of the scene: background and foregrounds."""
    return ~is_global(layers)


def gather(x: Array, axis_names: AxisNames) -> Array:
    """Every layer's `x`, in layer order: shape `(l, *x.shape)`. Alone (no axis), `l` is 1."""
    shape = x.shape
    for name in reversed(axis_names):
        x = jax.lax.all_gather(x, name)
    return x.reshape(-1, *shape)


def gather_local(x: Array, axis_names: AxisNames) -> Array:
    """`x` of the layers that live on this device: `(here, *x.shape)`. Nothing moves, and nothing is copied a layer."""
    return gather(x, tuple(name for name in axis_names if name == LOCAL))


def own(x: Array, axis_names: AxisNames) -> Array:
    """This layer's part of `x` (here, …), which `gather_local` put together."""
    return _own(x, jax.lax.axis_index(LOCAL)) if LOCAL in axis_names else x[0]


@jax.custom_batching.custom_vmap
def _own(x: Array, index: Int[Array, ""]) -> Array:
    return x[index]


@_own.def_vmap
def _own_of_all(_: int, batched: Sequence[bool], x: Array, index: Int[Array, " l"]) -> tuple[Array, bool]:
    """All indices in order: what is together already stays as it is."""
    return (jax.vmap(lambda x, i: x[i])(x, index) if batched[0] else x), True


def as_one_batch(f: Callable[..., Array], axis_names: AxisNames, *xs: Array | None) -> Array:
    """`f` of every layer's xs (b, …), the layers of one device as one batch (l·b, …): kernels need no rule for a mapped axis."""
    if LOCAL not in axis_names:
        return f(*xs)
    out = f(*(None if x is None else gather_local(x, axis_names).reshape(-1, *x.shape[1:]) for x in xs))
    return own(out.reshape(-1, xs[0].shape[0], *out.shape[1:]), axis_names)


def ring_size() -> int:
    """Over how many devices the layers lie."""
    return jax.lax.axis_size(ON_DEVICES)


def pass_on(x: Any) -> Any:
    """What the device before this one holds, the layers' devices being a ring: after `ring_size()` calls everyone has its own again."""
    size = ring_size()
    return jax.lax.ppermute(x, ON_DEVICES, [(i, (i + 1) % size) for i in range(size)])


def from_global(x: Array, role: Int[Array, ""], axis_names: AxisNames) -> Array:
    """The global layer's `x`, in every layer."""
    return from_one(x, role == Role.GLOBAL, axis_names)


def from_one(x: Array, is_that: Bool[Array, "*b"], axis_names: AxisNames) -> Array:
    """The one layer's `x` for which `is_that` holds, in every layer: a masked sum, so one broadcast's worth of traffic."""
    x = jnp.where(is_that.reshape(is_that.shape + (1,) * (x.ndim - is_that.ndim)), x, jnp.zeros_like(x)) if axis_names else x
    for name in axis_names:
        x = jax.lax.psum(x, name)
    return x


def map_layers(program: Callable[[AxisNames], Callable[..., Any]], place: Place = Place()) -> Callable[..., Any]:
    """Maps a program for one layer over the layer axis.

    Args:
        program: given the axis names, returns `f(params, *per_layer)`. The same object for the same program: `pmap` compiles one only once.
        place: of the layers.

    Returns:
        `f(params, *per_layer)` whose `params` are shared and whose other arguments, and results, carry a leading layer axis
        (then `b`, which a mesh shards over "data").
    """
    if place.mesh is not None:
        return _shard_layers(program, place)
    if place.layers == "pmap":
        return _one_device_a_layer(program)
    mapped = program(LAYER)
    return lambda params, *args: jax.vmap(lambda *layer: mapped(params, *layer), axis_name=LOCAL)(*args)


@lru_cache(maxsize=16)
def _one_device_a_layer(program: Callable[[AxisNames], Callable[..., Any]]) -> Callable[..., Any]:
    mapped = program((ON_DEVICES,))
    over_devices = jax.pmap(lambda params, args: mapped(params, *args), axis_name=ON_DEVICES, in_axes=(None, 0))

    def run(params: Any, *args: Any) -> Any:
        layers, there = np.shape(jax.tree.leaves(args)[0])[0], jax.local_device_count()
        if layers > there:
            raise PlaceError(f"{layers} images of the layer batch need a device each; there are {there}. Use a mesh, such as layer={there}")
        return over_devices(params, args)

    return run


def _shard_layers(program: Callable[[AxisNames], Callable[..., Any]], place: Place) -> Callable[..., Any]:
    mesh = place.mesh
    inner = program((ON_DEVICES, LOCAL))

    def spec(x: Any) -> PartitionSpec:
        return PartitionSpec(ON_DEVICES, "data") if np.ndim(x) > 1 else PartitionSpec(ON_DEVICES)

    def sharded(params: Any, *args: Any) -> Any:
        def local(params: Any, *args: Any) -> Any:
            return jax.vmap(lambda *layer: inner(params, *layer), axis_name=LOCAL)(*args)

        _check_divides(mesh.shape["data"], mesh.shape[ON_DEVICES], args)
        in_specs = (jax.tree.map(lambda _: PartitionSpec(), params), *jax.tree.map(spec, args))
        out_specs = PartitionSpec(ON_DEVICES, "data")
        # JAX's tracking of what varies over the mesh has no rule for a gather over the inner vmap's axis.
        return jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)(params, *args)

    return sharded


def _check_divides(data: int, layer: int, args: Any) -> None:
    layers, scenes = next(np.shape(x)[:2] for x in jax.tree.leaves(args) if np.ndim(x) > 1)
    if scenes % data or layers % layer:
        raise PlaceError(
            f"{scenes} pictures a layer, of {layers} layers, cannot be divided over the mesh data={data},layer={layer}; "
            f"data must divide the first, layer the second"
        )


def padded_sizes(layers: int, scenes: int, place: Place) -> tuple[int, int]:
    """To how many images and pictures each a layer batch (l, b, …) is padded at this place: as many on every device."""
    parts = (1, 1) if place.mesh is None else (place.mesh.shape[ON_DEVICES], place.mesh.shape["data"])
    return -(-layers // parts[0]) * parts[0], -(-scenes // parts[1]) * parts[1]


def pad(x: Array, layers: int, scenes: int) -> Array:
    """A layer batch (l, …) or (l, b, …) with copies of its background behind, and of its first scene: `layers` × `scenes` in all."""
    x = jnp.concatenate([x, jnp.broadcast_to(x[:1], (layers - len(x), *x.shape[1:]))]) if layers > len(x) else x
    if x.ndim == 1 or x.shape[1] == scenes:
        return x
    return jnp.concatenate([x, jnp.broadcast_to(x[:, :1], (layers, scenes - x.shape[1], *x.shape[2:]))], axis=1)


def pad_contexts(contexts: LayerContext, layers: int, scenes: int) -> LayerContext:
    """The contexts of a padded layer batch: copies of the background that no layer sees. Without padded layers there is no mask."""
    there, b = contexts.own.shape[:2]
    valid = contexts.valid
    if layers > there:
        valid = jnp.ones((there, b), bool) if valid is None else valid
        valid = jnp.concatenate([valid, jnp.zeros((layers - there, b), bool)])
    padded = jax.tree.map(lambda x: pad(x, layers, scenes), contexts.replace(valid=None))
    return padded.replace(valid=None if valid is None else pad(valid, layers, scenes))
