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
from jaxtyping import Bool, Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.layer_axis import LayerContext, roles


class PromptError(ValueError):
    """A prompt that cannot be used as it is."""


@flax.struct.dataclass
class Sentence:
    """The prompts of a scene as one sentence, for a global layer that nobody trained: foregrounds far to near, then the background."""

    ids: Int[np.ndarray, "b t"]
    start: Int[np.ndarray, "k b"]
    """Where each layer's words begin."""


@flax.struct.dataclass
class TokenBatch:
    """Token ids of the prompts of k layers, and how many of them are words."""

    ids: Int[np.ndarray, "k b t"]
    words: Int[np.ndarray, "k b"]
    sentence: Sentence | None = None
    """None: the global prompt is made of the layers' encoded words."""

    def only(self, layer: int) -> TokenBatch:
        """One layer's tokens, beside the whole sentence."""
        one = slice(layer, layer + 1)
        sentence = self.sentence and self.sentence.replace(start=self.sentence.start[one])
        return TokenBatch(self.ids[one], self.words[one], sentence)


def token_ids(tokenizer: Any, prompt: str) -> list[int]:
    """[SOS], the prompt's tokens, [EOS].

    A learned word of several vectors is one token to the tokenizer, followed in its table by `word_1`, `word_2`, …: it becomes all of them.
    """
    learned = tokenizer.get_added_vocab()
    words = {token: word for word, token in learned.items()}
    ids = []
    for token in tokenizer(prompt, add_special_tokens=True)["input_ids"]:
        ids.append(token)
        while token in words and learned.get(f"{words[token]}_{ids[-1] - token + 1}") == ids[-1] + 1:
            ids.append(ids[-1] + 1)
    return ids


def tokenize(tokenizer: Any, prompts: Sequence[Sequence[str]], length: int, windows: int = 1, *, as_sentence: bool = False) -> TokenBatch:
    """Token ids of prompts.

    Args:
        tokenizer: a `CLIPTokenizer`.
        prompts: one row a layer (background first), one prompt a scene.
        length: the token count of the text tower.
        windows: S / length, where S is the token count of the global prompt.
        as_sentence: the global prompt is encoded whole, as a sentence; it then has one window.

    Raises:
        PromptError: a prompt does not fit into the text tower, or the words of one scene's layers together into S − 2 tokens.
    """
    flat = [prompt for row in prompts for prompt in row]
    encoded = [token_ids(tokenizer, prompt) for prompt in flat]
    ids = np.full((len(flat), length), tokenizer.pad_token_id, np.int32)
    for row, tokens in zip(ids, encoded, strict=True):
        row[: min(len(tokens), length)] = tokens[:length]
    shape = (len(prompts), len(prompts[0]))
    words = np.array([len(tokens) - 2 for tokens in encoded], np.int32).reshape(shape)
    for layer, scene in np.argwhere(words > length - 2) if windows > 1 else ():
        prompt, count = prompts[layer][scene], words[layer, scene]
        raise PromptError(f"the prompt {prompt!r} has {count} tokens; the text tower reads {length - 2}. Use fewer words.")
    most = windows * length - 2
    for scene in np.flatnonzero(words.sum(axis=0) > most):
        counts = ", ".join(f"{row[scene]!r} {count}" for row, count in zip(prompts, words[:, scene], strict=True))
        raise PromptError(
            f"the prompts of one scene have {words[:, scene].sum()} tokens together ({counts}); "
            f"the global prompt holds {most}. Use fewer words."
        )
    rows = [encoded[i : i + shape[1]] for i in range(0, len(flat), shape[1])]
    sentence = _sentence(tokenizer, prompts, rows, length) if as_sentence else None
    return TokenBatch(ids.reshape(*shape, length), words, sentence)


def _sentence(tokenizer: Any, prompts: Sequence[Sequence[str]], encoded: Sequence[Sequence[list[int]]], length: int) -> Sentence:
    """Of every scene's prompts; `encoded` are their tokens with [SOS] and [EOS]."""
    _, *comma, _ = tokenizer(",", add_special_tokens=True)["input_ids"]
    layers, scenes = len(prompts), len(prompts[0])
    ids, start = np.full((scenes, length), tokenizer.pad_token_id, np.int32), np.zeros((layers, scenes), np.int32)
    for scene in range(scenes):
        row = [encoded[0][scene][0]]
        for layer in (*range(1, layers), 0):
            row += comma if len(row) > 1 else []
            start[layer, scene] = len(row)
            row += encoded[layer][scene][1:-1]
        if len(row) >= length:
            together = ", ".join(prompts[layer][scene] for layer in (*range(1, layers), 0))
            raise PromptError(
                f"the prompts of one scene are {len(row) - 1} tokens as one sentence, {together!r}; the text tower reads {length - 2}. "
                "Use fewer words."
            )
        ids[scene, : len(row) + 1] = [*row, encoded[0][scene][-1]]
    return Sentence(ids, start)


def word_mask(words: Int[Array, "*n"], length: int) -> Bool[Array, "*n t"]:
    """True at positions 1 … words: strictly between [SOS] and [EOS]."""
    words = jnp.asarray(words)[..., None]
    position = jnp.arange(length).reshape((1,) * (words.ndim - 1) + (length,))
    return (position >= 1) & (position <= words)


def global_prompt(
    layers: Float[Array, "k b t d"], words: Int[Array, "k b"], empty: Float[Array, "t d"], windows: int = 1
) -> tuple[Float[Array, "b s d"], Bool[Array, "k b s"]]:
    """C_t^{k+1}, of S = t · windows tokens, and the span of each layer in it.

    `empty` is the embedding of the empty prompt: its [SOS], [EOS] and padding, whose last token is repeated as often as S needs.
    """
    length = layers.shape[2]
    total_length = length * windows
    end = jnp.cumsum(words, axis=0)[..., None]  # (k, b, 1)
    start = end - words[..., None]
    position = jnp.arange(total_length)[None, None] - 1  # 0 is the first word
    span = (position >= start) & (position < end)  # (k, b, s)
    inside = jnp.where(span, position - start + 1, 0)
    picked = jnp.take_along_axis(layers, inside[..., None], axis=2)  # (k, b, s, d)
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
    windows: int = 1,
    sentence: tuple[Float[Array, "b t d"], Int[Array, "k b"]] | None = None,
) -> LayerContext:
    """The `LayerContext` of a whole layer batch (leading axis l = k + 1) from the encoded layer prompts.

    Args:
        encoded: text tower output of each layer's prompt, background first.
        words: tokens between [SOS] and [EOS] of each.
        empty: text tower output of the empty prompt.
        layer_assign: the learned embedding of each layer slot.
        valid: False for padded layers; nothing is padded by default.
        windows: S / t; over 1, the layers' own prompts get a tail that nothing attends to.
        sentence: text tower output of the scene's `Sentence`, and where each layer's words begin in it.
    """
    k, b, length, _ = encoded.shape
    if k > layer_assign.shape[0]:
        most = layer_assign.shape[0] - 1
        raise PromptError(f"{k - 1} foregrounds given; this model knows {most} at most")
    words = words if valid is None else jnp.where(valid, words, 0)
    layers = encoded + layer_assign[:k, None, None, :]
    total_length = length * windows
    if sentence is None:
        whole, span = global_prompt(layers, words, empty, windows)
    else:
        whole, start = sentence[0], jnp.asarray(sentence[1])[..., None]
        position = jnp.arange(length)[None, None]
        span = (position >= start) & (position < start + words[..., None])
    nothing = jnp.zeros((1, b, total_length), bool)
    layers = jnp.pad(layers, ((0, 0), (0, 0), (0, total_length - length), (0, 0)))
    reach = jnp.where(jnp.arange(k + 1) < k, length, total_length)[:, None, None]
    keep = jnp.broadcast_to(jnp.arange(total_length)[None, None] < reach, (k + 1, b, total_length))
    return LayerContext(
        role=roles(k + 1),
        valid=None if valid is None else jnp.concatenate([jnp.asarray(valid), jnp.ones((1, b), bool)]),
        prompt=jnp.concatenate([layers, whole[None]]),
        own=jnp.concatenate([word_mask(words, total_length), nothing]),
        span=jnp.concatenate([span, nothing]),
        keep=keep if windows > 1 else None,
    )


def doubled(empty: LayerContext, prompted: LayerContext) -> LayerContext:
    """Two layer batches as one along `b`, for classifier-free guidance; roles are the same."""
    joined = jax.tree.map(lambda a, p: jnp.concatenate([a, p], axis=1), empty.replace(role=None), prompted.replace(role=None))
    return joined.replace(role=prompted.role)
