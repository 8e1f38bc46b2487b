"""Places: meshes out of words, one clear sentence for what cannot be, and where parameters lie."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from dreamlayer_jax.place import FSDP, MESH_AXES, Place, PlaceError, make_mesh, make_place


@pytest.mark.parametrize(
    ("text", "data", "layer"),
    [("data=2,layer=2", 2, 2), ("layer=4", 1, 4), ("data=-1, layer=2", 2, 2), ("layer=-1", 1, 4), ("data=2", 2, 1)],
)
def test_a_mesh_out_of_words(text: str, data: int, layer: int) -> None:
    mesh = make_mesh(text)
    assert mesh.axis_names == MESH_AXES
    assert mesh.devices.shape == (data, layer)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data=4,layer=4", "the mesh 'data=4,layer=4' needs 16 devices, but there are only 4 cpu devices"),
        ("data=-1,layer=3", "the mesh 'data=-1,layer=3' cannot divide 4 cpu devices by 3"),
        ("data=-1,layer=-1", "leaves both axes open"),
        ("depth=2", "has the part 'depth=2'; give data=D,layer=L"),
        ("layer=0", "has the part 'layer=0'"),
        ("layer=two", "has the part 'layer=two'"),
        ("", "has the part ''"),
    ],
)
def test_an_impossible_mesh_gets_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(PlaceError, match=sentence) as error:
        make_mesh(text)
    assert "\n" not in str(error.value)


def test_words_of_a_place() -> None:
    assert make_place() == Place()
    assert make_place("pmap") == Place(layers="pmap")
    assert make_place("layer=4", "bfloat16").dtype == jnp.bfloat16
    assert hash(make_place("layer=4")) == hash(make_place("layer=4"))
    with pytest.raises(PlaceError, match="dtype is 'int8'; known are float32, bfloat16, float16"):
        make_place(dtype="int8")


def test_other_places_are_refused() -> None:
    with pytest.raises(PlaceError, match="not 'tpu'"):
        Place(layers="tpu")
    with pytest.raises(PlaceError, match=r"axes \('x', 'layer'\)"):
        Place(mesh=Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "layer")))
    with pytest.raises(PlaceError, match="not 'post'"):
        Place(exchange="post")


def test_parameters_are_divided_by_the_first_rule_that_matches() -> None:
    shapes = {
        "unet": {"kernel": (3, 3, 256, 512), "odd": (513, 257), "bias": (512,)},
        "text": {"kernel": (512, 512)},
    }
    tree = jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=lambda x: isinstance(x, tuple))
    place = make_place("data=2,layer=2", rules=((r"text/.*", ()), *FSDP))
    specs = jax.tree.map(lambda sharding: sharding.spec, place.of_parameters(tree))
    assert specs["unet"]["kernel"] == PartitionSpec(None, None, None, ("data",))
    assert specs["unet"]["odd"] == specs["unet"]["bias"] == specs["text"]["kernel"] == PartitionSpec()
    assert Place().of_parameters(tree)["text"]["kernel"] is None


def test_a_divided_parameter_takes_half_the_memory_a_device() -> None:
    place = make_place("data=2,layer=2", rules=FSDP)
    x = {"kernel": jnp.ones((256, 512))}
    placed = jax.device_put(x, place.of_parameters(x))
    assert {shard.data.shape for shard in placed["kernel"].addressable_shards} == {(256, 256)}
