"""The four models differ in their parts and in nothing else."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.ablation.models import folder_of, variant, with_parts
from dreamlayer_jax.config import LayeredConfig, pocket
from dreamlayer_jax.models.init import init_params
from dreamlayer_jax.pipeline import DreamLayer
from train.diffusion import DiffusionStage


@pytest.mark.parametrize(("name", "parts"), [("neither", (0, 0, 0)), ("LSSA", (1, 0, 0)), ("CACA", (0, 1, 0)), ("both", (1, 1, 1))])
def test_parts(name: str, parts: tuple[bool, bool, bool]) -> None:
    """Eq. 9 needs both: it is LSSA's and reads CACA's maps."""
    config = with_parts(name, LayeredConfig(given_clean=True))
    assert (config.layer_shared, config.context_map, config.guided) == parts
    assert not config.given_clean


def test_base_and_models_go_on_from_what_they_are_given_and_everything_learns() -> None:
    stage = DiffusionStage(config=pocket(), tokenizer=None, sources={}, picture_prompts=(), vae_params={}, steps=7)
    weights = init_params(pocket(), jax.random.key(1), ("unet", "text_encoder", "layer_assign"))
    base = variant(stage, "base", weights, 3)
    assert (base.name, base.steps) == ("diffusion/base", 3)
    assert not base.config.layered.layer_shared
    both = variant(stage, "both", base.init(jax.random.key(2)), 5)
    before, of_base, of_both = (flatten_dict(tree) for tree in (weights, base.start, both.start))
    maps = set(before) - set(of_base)
    assert {path[:2] for path in maps} == {("unet", "context_maps")}
    assert set(of_both) == set(before)
    assert all(np.array_equal(leaf, before[path]) for path, leaf in of_base.items())
    assert all(np.array_equal(of_both[path], before[path]) for path in of_base)
    assert any(not np.array_equal(of_both[path], before[path]) for path in maps)
    assert all(both.trainable(path) for path in of_both)


def test_models_of_other_weights_are_kept_apart() -> None:
    first, same, other = (DreamLayer(config=pocket(), params={"unet": {"bias": np.full(3, value)}}, tokenizer=None) for value in (1, 1, 2))
    assert folder_of(first).startswith("ablation/pocket-")
    assert folder_of(first) == folder_of(same) != folder_of(other)
