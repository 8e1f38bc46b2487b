"""From prompts to the embeddings of a layer batch (paper §2): the global prompt and its spans, built by hand."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dreamlayer_jax.layer_axis import Role
from dreamlayer_jax.prompts import PromptError, doubled, global_prompt, layer_contexts, tokenize, word_mask

K, B, T, D = 3, 2, 10, 4
WORDS = np.array([[2, 1], [3, 0], [1, 4]])


class OneTokenAWord:
    """The part of a `CLIPTokenizer` that is called: [SOS] = 1, [EOS] = padding = 2, a word's length otherwise."""

    pad_token_id = 2

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert add_special_tokens
        return {"input_ids": [1, *(len(word) + 2 for word in text.split()), 2]}

    def get_added_vocab(self) -> dict[str, int]:
        return {}


@pytest.fixture(scope="module")
def encoded() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the layers' prompts and of the empty prompt."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(K, B, T, D)).astype(np.float32), rng.normal(size=(T, D)).astype(np.float32)


def by_hand(layers: np.ndarray, words: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """[SOS], the words of every layer, then [EOS] and padding of the empty prompt up to the length."""
    rows = []
    for scene in range(B):
        parts = [layers[i, scene, 1 : 1 + words[i, scene]] for i in range(K)]
        rows.append(np.concatenate([empty[:1], *parts, empty[1:]])[:T])
    return np.stack(rows)


def test_tokens_and_word_counts() -> None:
    tokens = tokenize(OneTokenAWord(), [["a bee", "sea"], ["two red apples", "a"]], 7)
    np.testing.assert_array_equal(tokens.words, [[2, 1], [3, 1]])
    np.testing.assert_array_equal(tokens.ids[0], [[1, 3, 5, 2, 2, 2, 2], [1, 5, 2, 2, 2, 2, 2]])
    np.testing.assert_array_equal(tokens.ids[1, 0], [1, 5, 5, 8, 2, 2, 2])


def test_prompts_that_fill_the_length_fit_and_one_word_more_is_refused_by_name() -> None:
    assert tokenize(OneTokenAWord(), [["a bee"], ["two apples"]], 6).words.sum() == 4
    with pytest.raises(PromptError, match=r"5 tokens together \('a bee' 2, 'two red apples' 3\); the global prompt holds 4"):
        tokenize(OneTokenAWord(), [["sea", "a bee"], ["sun", "two red apples"]], 6)


def test_the_global_prompt_is_sos_spans_eos_padding(encoded) -> None:
    layers, empty = encoded
    whole, span = jax.jit(global_prompt)(layers, WORDS, empty)
    np.testing.assert_array_equal(whole, by_hand(layers, WORDS, empty))
    np.testing.assert_array_equal(span.sum(-1), WORDS)


def test_a_full_global_prompt_has_one_eos_left(encoded) -> None:
    layers, empty = encoded
    words = np.array([[4, 1], [3, 6], [1, 1]])
    assert (words.sum(0) == T - 2).all()
    whole, _ = global_prompt(layers, words, empty)
    np.testing.assert_array_equal(whole, by_hand(layers, words, empty))
    np.testing.assert_array_equal(whole[:, -1], np.broadcast_to(empty[1], (B, D)))


def test_spans_are_disjoint_and_in_order(encoded) -> None:
    layers, empty = encoded
    span = np.asarray(global_prompt(layers, WORDS, empty)[1])
    for scene in range(B):
        owner = [int(np.flatnonzero(span[:, scene, token])[0]) for token in range(T) if span[:, scene, token].any()]
        assert owner == sorted(owner)
        np.testing.assert_array_equal(np.flatnonzero(span[:, scene].any(0)), 1 + np.arange(WORDS[:, scene].sum()))
    assert span.sum(0).max() == 1


def test_word_mask_is_strictly_between_sos_and_eos() -> None:
    np.testing.assert_array_equal(word_mask(np.array([0, 2]), 5), [[False] * 5, [False, True, True, False, False]])


def test_contexts_of_a_layer_batch(encoded) -> None:
    layers, empty = encoded
    assign = np.random.default_rng(1).normal(size=(4, D)).astype(np.float32)
    valid = np.array([[True, True], [True, True], [True, False]])
    contexts = layer_contexts(layers, WORDS, empty, assign, valid)
    told = np.where(valid, WORDS, 0)
    assigned = layers + assign[:K, None, None]
    np.testing.assert_array_equal(contexts.role, [Role.BACKGROUND, Role.FOREGROUND, Role.FOREGROUND, Role.GLOBAL])
    np.testing.assert_array_equal(contexts.valid, [*valid, [True, True]])
    np.testing.assert_array_equal(contexts.prompt[:-1], assigned)
    np.testing.assert_array_equal(contexts.prompt[-1], by_hand(assigned, told, empty))
    np.testing.assert_array_equal(contexts.span.sum(-1), [*told, [0, 0]])
    np.testing.assert_array_equal(contexts.own.sum(-1), [*told, [0, 0]])
    np.testing.assert_array_equal(contexts.own[0, 0], [False, True, True] + [False] * 7)


def test_more_layers_than_the_model_knows_are_refused(encoded) -> None:
    layers, empty = encoded
    with pytest.raises(PromptError, match="2 foregrounds given; this model knows 1 at most"):
        layer_contexts(layers, WORDS, empty, np.zeros((2, D), np.float32))


def test_doubled_contexts_are_without_then_with_prompts(encoded) -> None:
    layers, empty = encoded
    assign = np.zeros((K, D), np.float32)
    prompted = layer_contexts(layers, WORDS, empty, assign)
    blank = layer_contexts(np.broadcast_to(empty, layers.shape), np.zeros_like(WORDS), empty, assign)
    both = doubled(blank, prompted)
    np.testing.assert_array_equal(both.role, prompted.role)
    np.testing.assert_array_equal(both.prompt[:, :B], np.broadcast_to(empty, (K + 1, B, T, D)))
    np.testing.assert_array_equal(both.prompt[:, B:], prompted.prompt)
    assert not both.span[:, :B].any()


def test_a_longer_global_prompt_holds_more_and_leaves_the_layers_as_they_were() -> None:
    """S twice the tower's length: prompts that together are too long for one length fit, and the layers' own tail is never seen."""
    with pytest.raises(PromptError, match="the global prompt holds 4"):
        tokenize(OneTokenAWord(), [["a bee sun sea"], ["two apples"]], 6)
    tokens = tokenize(OneTokenAWord(), [["a bee sun sea"], ["two apples"]], 6, windows=2)
    rng = np.random.default_rng(0)
    layers, empty = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 1, 6, 3), (6, 3)))
    context = layer_contexts(layers, tokens.words, empty, np.zeros((2, 3), np.float32), windows=2)
    assert context.prompt.shape == (3, 1, 12, 3)
    np.testing.assert_array_equal(context.prompt[:2, :, :6], layers)
    expected = np.concatenate([empty[:1], layers[0, 0, 1:5], layers[1, 0, 1:3], empty[1:6]])
    np.testing.assert_array_equal(context.prompt[2, 0], expected)
    np.testing.assert_array_equal(context.keep[:, 0].sum(axis=1), [6, 6, 12])
    np.testing.assert_array_equal(np.flatnonzero(context.span[1, 0]), [5, 6])
    assert layer_contexts(layers, tokens.words - 2, empty, np.zeros((2, 3), np.float32)).keep is None
    with pytest.raises(PromptError, match="reads 4"):
        tokenize(OneTokenAWord(), [["a bee sun sea sky"], ["a"]], 6, windows=2)


def test_a_sentence_holds_every_layers_words_where_it_says() -> None:
    tokens = tokenize(OneTokenAWord(), [["a bee", "sea"], ["two red apples", "a"]], 10, as_sentence=True)
    np.testing.assert_array_equal(tokens.sentence.ids, [[1, 5, 5, 8, 3, 3, 5, 2, 2, 2], [1, 3, 3, 5, 2, 2, 2, 2, 2, 2]])
    for layer in range(2):
        for scene in range(2):
            start, words = tokens.sentence.start[layer, scene], tokens.words[layer, scene]
            inside = tokens.sentence.ids[scene, start : start + words]
            np.testing.assert_array_equal(inside, tokens.ids[layer, scene, 1 : words + 1])
    one = tokens.only(1)
    np.testing.assert_array_equal(one.ids, tokens.ids[1:])
    np.testing.assert_array_equal(one.sentence.start, [[1, 1]])
    np.testing.assert_array_equal(one.sentence.ids, tokens.sentence.ids)


def test_a_sentence_that_is_too_long_is_refused() -> None:
    assert tokenize(OneTokenAWord(), [["a bee"], ["two apples"]], 7, as_sentence=True).sentence.ids[0, -1] == 2
    with pytest.raises(PromptError, match="5 tokens as one sentence, 'two apples, a bee'; the text tower reads 4"):
        tokenize(OneTokenAWord(), [["a bee"], ["two apples"]], 6, as_sentence=True)


def test_contexts_of_a_sentence(encoded) -> None:
    layers, empty = encoded
    sentence = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    start = np.array([[5, 6], [1, 1], [4, 2]])
    contexts = layer_contexts(layers, WORDS, empty, np.zeros((K, D), np.float32), sentence=(sentence, start))
    np.testing.assert_array_equal(contexts.prompt[-1], sentence)
    for layer in range(K):
        for scene in range(B):
            span = np.flatnonzero(contexts.span[layer, scene])
            np.testing.assert_array_equal(span, start[layer, scene] + np.arange(WORDS[layer, scene]))
