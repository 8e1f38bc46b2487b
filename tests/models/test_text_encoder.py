"""Laws of the text tower that need no reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamlayer_jax.config import TextConfig
from dreamlayer_jax.models.text_encoder import CLIPTextModel

CONFIG = TextConfig(
    vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=8
)


def test_a_token_sees_only_what_came_before():
    tower = CLIPTextModel(CONFIG)
    ids = jnp.array([[3, 1, 4, 1, 5, 9], [3, 1, 4, 2, 6, 5]])
    first, second = jax.jit(lambda key: tower.apply(tower.init(key, ids), ids))(jax.random.key(0))
    np.testing.assert_allclose(first[:3], second[:3], rtol=1e-6)
    assert (np.abs(first[3:] - second[3:]).max(axis=-1) > 1e-3).all()


def test_a_prompt_longer_than_the_tower_is_refused():
    with pytest.raises(ValueError, match="9 tokens, but the text tower has 8 positions"):
        jax.eval_shape(CLIPTextModel(CONFIG).init, jax.random.key(0), jnp.zeros((1, 9), jnp.int32))
