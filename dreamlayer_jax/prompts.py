"""From words to the prompt embeddings of a layer batch (paper §2; `docs/paper_map.md`).

Every layer's prompt is encoded alone; a learned layer-assign embedding is added; the global prompt is the layers' tokens, those strictly
between [SOS] and [EOS], one after the other: [SOS], span 1, …, span k, [EOS], padding. Each layer thus owns a known span of global tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dreamlayer_jax.layer_axis import LayerContext, roles


class PromptError(ValueError):
    """A prompt that cannot be used as it is."""


@flax.struct.dataclass
class TokenBatch:
    """Token ids of the prompts of k layers, and how many of them are words."""

    ids: Int[np.ndarray, "k b t"]
    words: Int[np.ndarray, "k b"]


def tokenize(tokenizer: Any, prompts: Sequence[Sequence[str]], length: int) -> TokenBatch:
    """Token ids of prompts.

    Args:
        tokenizer: a `CLIPTokenizer`.
        prompts: one row a layer (background first), one prompt a scene.
        length: S, the token count of the text tower.

    Raises:
        PromptError: the words of one scene's layers together do not fit into S − 2 tokens.
    """
    flat = [prompt for row in prompts for prompt in row]
    encoded = [tokenizer(prompt, add_special_tokens=True)["input_ids"] for prompt in flat]
    ids = np.full((len(flat), length), tokenizer.pad_token_id, np.int32)
    for row, tokens in zip(ids, encoded, strict=True):
        row[: min(len(tokens), length)] = tokens[:length]
    shape = (len(prompts), len(prompts[0]))
    words = np.array([len(tokens) - 2 for tokens in encoded], np.int32).reshape(shape)
    for scene in np.flatnonzero(words.sum(axis=0) > length - 2):
        counts = ", ".join(f"{row[scene]!r} {count}" for row, count in zip(prompts, words[:, scene], strict=True))
        raise PromptError(
            f"the prompts of one scene have {words[:, scene].sum()} tokens together ({counts}); "
            f"the global prompt holds {length - 2}. Use fewer words."
        )
    return TokenBatch(ids.reshape(*shape, length), words)


def word_mask(words: Int[Array, "*n"], length: int) -> Bool[Array, "*n t"]:
    """True at positions 1 … words: strictly between [SOS] and [EOS]."""
    words = jnp.asarray(words)[..., None]
    position = jnp.arange(length).reshape((1,) * (words.ndim - 1) + (length,))
    return (position >= 1) & (position <= words)


def global_prompt(
    layers: Float[Array, "k b t d"], words: Int[Array, "k b"], empty: Float[Array, "t d"]
) -> tuple[Float[Array, "b t d"], Bool[Array, "k b t"]]:
    """C_t^{k+1} and the span of each layer in it. `empty` is the embedding of the empty prompt: its [SOS], [EOS] and padding."""
    length = layers.shape[2]
    end = jnp.cumsum(words, axis=0)[..., None]  # (k, b, 1)
    start = end - words[..., None]
    position = jnp.arange(length)[None, None] - 1  # 0 is the first word
    span = (position >= start) & (position < end)  # (k, b, t)
    inside = jnp.where(span, position - start + 1, 0)
    picked = jnp.take_along_axis(layers, inside[..., None], axis=2)  # (k, b, t, d)
    words_part = jnp.where(span[..., None], picked, 0).sum(axis=0)
    total = end[-1]  # (b, 1)
    outside = jnp.where(position[0] < 0, 0, jnp.clip(position[0] - total + 1, 0, length - 1))
    return jnp.where(span.any(axis=0)[..., None], words_part, empty[outside]), span


def layer_contexts(
    encoded: Float[Array, "k b t d"],
    words: Int[Array, "k b"],
    empty: Float[Array, "t d"],
    layer_assign: Float[Array, "slots d"],
    valid: Bool[Array, "k b"] | None = None,
) -> LayerContext:
    """The `LayerContext` of a whole layer batch (leading axis l = k + 1) from the encoded layer prompts.

    Args:
        encoded: text tower output of each layer's prompt, background first.
        words: tokens between [SOS] and [EOS] of each.
        empty: text tower output of the empty prompt.
        layer_assign: the learned embedding of each layer slot.
        valid: False for padded layers; all valid by default.
    """
    k, b, length, _ = encoded.shape
    if k > layer_assign.shape[0]:
        most = layer_assign.shape[0] - 1
        raise PromptError(f"{k - 1} foregrounds given; this model knows {most} at most")
    valid = jnp.ones((k, b), bool) if valid is None else jnp.asarray(valid)
    words = jnp.where(valid, words, 0)
    layers = encoded + layer_assign[:k, None, None, :]
    whole, span = global_prompt(layers, words, empty)
    nothing = jnp.zeros((1, b, length), bool)
    return LayerContext(
        role=roles(k + 1),
        valid=jnp.concatenate([valid, jnp.ones((1, b), bool)]),
        prompt=jnp.concatenate([layers, whole[None]]),
        own=jnp.concatenate([word_mask(words, length), nothing]),
        span=jnp.concatenate([span, nothing]),
    )


def doubled(empty: LayerContext, prompted: LayerContext) -> LayerContext:
    """Two layer batches as one along `b`, for classifier-free guidance; roles are the same."""
    joined = jax.tree.map(lambda a, p: jnp.concatenate([a, p], axis=1), empty.replace(role=None), prompted.replace(role=None))
    return joined.replace(role=prompted.role)
