"""Programs for TPUs that are not here: what they send, and the small versions compiled by Google's own compiler."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.pod.chips import topology
from benchmarks.pod.hlo import Traffic, traffic
from benchmarks.pod.measure import Compiled, compiled
from benchmarks.pod.programs import sampling, training
from dreamlayer_jax.config import DreamLayerConfig, LayeredConfig, UNetConfig, pocket, sd15
from dreamlayer_jax.place import Place, make_mesh

KEYS = "keys and values (Eq. 10-11)"
OF_GLOBAL = {"the global's map and states (Eq. 3-5)", "the global's states (Eq. 9)"}

HLO = """HloModule jit_step

%body (arg: (f32[8], s32[])) -> (f32[8], s32[]) {
  %permute = bf16[4,16]{1,0} collective-permute(bf16[4,16]{1,0} %x), source_target_pairs={{0,1},{1,0},{2,3},{3,2}}, metadata={op_name="jit(step)/attn1/ppermute"}
  ROOT %tuple = (f32[8]{0}, s32[]) tuple(%a, %b)
}

%condition (arg: (f32[8], s32[])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %while = (f32[8]{0}, s32[]) while(%init), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %start = (bf16[2,8]{1,0}, bf16[4,8]{1,0}) all-gather-start(bf16[2,8]{1,0} %k), replica_groups={{0,1},{2,3}}, metadata={op_name="jit(step)/attn1/all_gather"}
  %done = bf16[4,8]{1,0} all-gather-done(%start)
  %sum = f32[10]{0} all-reduce(f32[10]{0} %g), replica_groups=[2,2]<=[2,2]T(1,0), to_apply=%add, metadata={op_name="jit(step)/transpose"}
  ROOT %scattered = f32[5]{0} reduce-scatter(f32[10]{0} %g), replica_groups=[2,2]<=[4], metadata={op_name="jit(step)/up_blocks_1/transformer_blocks_0/psum"}
}
"""  # noqa: E501


def test_bytes_received_by_every_collective_loops_counted() -> None:
    assert traffic(HLO, data=2, layer=2) == {
        Traffic("collective-permute", "layer", KEYS): 3 * 4 * 16 * 2,
        Traffic("all-gather", "layer", KEYS): 4 * 8 * 2 // 2,
        Traffic("all-reduce", "data", "parameters, gradients, loss"): 10 * 4,
        Traffic("reduce-scatter", "layer", "the global's states (Eq. 9)"): 5 * 4,
    }


def compiled_for(program: str, config: DreamLayerConfig, mesh: str, exchange: str = "gather") -> Compiled:
    """On chips of a v5e 2x2 that are not here."""
    try:
        _, devices = topology("v5e:2x2")
    except ModuleNotFoundError:
        pytest.skip("libtpu, Google's TPU compiler, is not installed; `make test-tpu` fetches it and runs this")
    place = Place(mesh=make_mesh(mesh, devices), dtype="bfloat16", exchange=exchange)
    alone = dataclasses.replace(place, mesh=None)
    scenes = place.mesh.shape["data"]
    if program == "train":
        return compiled(training(config, place, scenes, 4), place, training(config, alone, scenes, 4))
    guided = program == "sample"
    return compiled(sampling(config, place, scenes, 4, guided), place, sampling(config, alone, scenes, 4, guided))


def purposes_over_layers(made: Compiled) -> set[str]:
    return {sent.purpose for sent in made.received if sent.over == "layer"}


def test_pockets_training_gradient_compiles_for_a_v5e_2x2() -> None:
    made = compiled_for("train", pocket(), "data=2,layer=2")
    assert {KEYS, *OF_GLOBAL} <= purposes_over_layers(made)
    assert made.memory < 2**30
    assert made.flops > 1e8


def test_under_t_g_only_keys_and_values_move_over_the_layer_axis_also_round_a_ring() -> None:
    made = compiled_for("sample-late", pocket(), "layer=4", "ring")
    assert purposes_over_layers(made) == {KEYS}
    assert {sent.kind for sent in made.received if sent.purpose == KEYS} == {"collective-permute"}


def test_stable_diffusions_widest_attentions_compile_for_one_v5e_with_the_pallas_kernel() -> None:
    """Its outer two levels at 256×256 pixels: heads of 40 over 1,024 tokens, 4,096 keys where layers share them."""
    unet = UNetConfig(block_out_channels=(320, 640), cross_attention=(True, True), layers_per_block=1)
    config = dataclasses.replace(sd15(), sample_size=256, unet=unet, layered=LayeredConfig(context_block=1))
    made = compiled_for("sample", config, "data=1")
    assert made.pallas_calls >= 5  # self-attention in the first down block, layer-shared in the last up block
    assert not made.received
