"""CLIP's text tower (ViT-L/14 for Stable Diffusion 1.5): token ids to one embedding a token, C_t of paper §3."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Float, Int

from dreamlayer_jax.arrays import Array
from dreamlayer_jax.attention.core import attention_weights
from dreamlayer_jax.config import TextConfig


def quick_gelu(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """x · σ(1.702 x), OpenAI's approximation of GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Causal multi-head attention: a token sees itself and the tokens before it."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        channels, tokens = x.shape[-1], x.shape[1]

        def heads(name: str) -> Float[Array, "b t n d"]:
            return rearrange(nn.Dense(channels, dtype=self.dtype, name=name)(x), "b t (n d) -> b t n d", n=self.heads)

        causal = jnp.tril(jnp.ones((1, 1, tokens, tokens), bool))
        weights = attention_weights(heads("q_proj"), heads("k_proj"), causal).astype(self.dtype)
        out = jnp.einsum("b n t s, b s n d -> b t n d", weights, heads("v_proj"))
        return nn.Dense(channels, dtype=self.dtype, name="out_proj")(rearrange(out, "b t n d -> b t (n d)"))


class MLP(nn.Module):
    """Two dense layers around the activation."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        x = nn.Dense(self.config.intermediate_size, dtype=self.dtype, name="fc1")(x)
        x = quick_gelu(x) if self.config.hidden_act == "quick_gelu" else jax.nn.gelu(x, approximate=False)
        return nn.Dense(self.config.hidden_size, dtype=self.dtype, name="fc2")(x)


class EncoderLayer(nn.Module):
    """Attention, then the MLP, each behind a LayerNorm and a residual."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        c = self.config
        x = x + SelfAttention(c.num_attention_heads, self.dtype, name="self_attn")(_norm(c, x, "layer_norm1").astype(self.dtype))
        return x + MLP(c, self.dtype, name="mlp")(_norm(c, x, "layer_norm2").astype(self.dtype))


class Embeddings(nn.Module):
    """Token plus position."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: Int[Array, "b t"]) -> Float[Array, "b t c"]:
        c = self.config
        tokens = nn.Embed(c.vocab_size, c.hidden_size, dtype=self.dtype, name="token_embedding")(token_ids)
        positions = nn.Embed(c.max_position_embeddings, c.hidden_size, dtype=self.dtype, name="position_embedding")
        return tokens + positions(jnp.arange(token_ids.shape[1])[None])


class Encoder(nn.Module):
    """The stack of blocks."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        for i in range(self.config.num_hidden_layers):
            x = EncoderLayer(self.config, self.dtype, name=f"layers_{i}")(x)
        return x


class TextTransformer(nn.Module):
    """Embeddings, encoder, final LayerNorm."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: Int[Array, "b t"]) -> Float[Array, "b t c"]:
        x = Embeddings(self.config, self.dtype, name="embeddings")(token_ids)
        return _norm(self.config, Encoder(self.config, self.dtype, name="encoder")(x), "final_layer_norm")


class CLIPTextModel(nn.Module):
    """Token ids `(b, t)` to the last hidden state after the final LayerNorm, `(b, t, hidden_size)`, float32."""

    config: TextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: Int[Array, "b t"]) -> Float[Array, "b t c"]:
        longest = self.config.max_position_embeddings
        if token_ids.shape[1] > longest:
            raise ValueError(f"{token_ids.shape[1]} tokens, but the text tower has {longest} positions; shorten the prompt or split it")
        return TextTransformer(self.config, self.dtype, name="text_model")(token_ids)


def _norm(config: TextConfig, x: Float[Array, "b t c"], name: str) -> Float[Array, "b t c"]:
    return nn.LayerNorm(epsilon=config.layer_norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)(x)
