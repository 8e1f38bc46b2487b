"""The four models differ in their parts and in nothing else."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.ablation.models import variant, with_parts
from dreamlayer_jax.config import LayeredConfig, pocket
from dreamlayer_jax.weights.init import init_params
from train.diffusion import DiffusionStage


@pytest.mark.parametrize(("name", "parts"), [("neither", (0, 0, 0)), ("LSSA", (1, 0, 0)), ("CACA", (0, 1, 0)), ("both", (1, 1, 1))])
def test_parts(name: str, parts: tuple[bool, bool, bool]) -> None:
    """Eq. 9 needs both: it is LSSA's and reads CACA's maps."""
    config = with_parts(name, LayeredConfig(given_clean=True))
    assert (config.layer_shared, config.context_map, config.guided) == parts
    assert not config.given_clean


def test_a_model_starts_from_the_base_and_everything_learns() -> None:
    stage = DiffusionStage(config=pocket(), tokenizer=None, sources={}, picture_prompts=(), vae_params={}, steps=7, whole=True)
    first = variant(stage, "base", None, 3)
    assert (first.name, first.steps, first.start) == ("ablation/base", 3, None)
    assert not first.config.layered.layer_shared
    base = init_params(first.config, jax.random.key(1), ("unet", "text_encoder", "layer_assign"))
    both = variant(stage, "both", base, 5)
    started, before = flatten_dict(both.init(jax.random.key(2))), flatten_dict(base)
    assert all(np.array_equal(started[path], leaf) for path, leaf in before.items())
    added = set(started) - set(before)
    assert added
    assert {path[:2] for path in added} == {("unet", "context_maps")}
    assert all(both.trainable(path) for path in started)
