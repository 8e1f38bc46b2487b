"""Muon for matrices, Adam for everything else.

A convolution kernel is the matrix (height·width·in, out). Norms, biases and embeddings are not linear maps of features: Adam.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import optax

from train.muon import scale_by_muon


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """`learning_rate` is Muon's (or Adam's, when `matrices` is "adam"); `final_fraction` is what a decay ends on.

    "trapezoid" holds the peak and decays linearly over the last quarter, so a run may be lengthened while it still holds.
    """

    matrices: Literal["muon", "adam"] = "muon"
    learning_rate: float = 1e-2
    adam_learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "trapezoid"] = "cosine"
    warmup_steps: int = 100
    final_fraction: float = 0.01
    clip_norm: float = 1.0
    adam_b2: float = 0.99
    weight_decay: float = 0.0


def schedule(config: OptimizerConfig, peak: float, steps: int) -> optax.Schedule:
    """Linear warm-up to `peak`, then constant, cosine or trapezoid to `peak * final_fraction` at `steps`."""
    if config.schedule == "cosine":
        end = max(steps, config.warmup_steps + 1)
        return optax.warmup_cosine_decay_schedule(0.0, peak, config.warmup_steps, end, peak * config.final_fraction)
    warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
    if config.schedule == "trapezoid":
        hold = max(steps * 3 // 4, config.warmup_steps)
        decay = optax.linear_schedule(peak, peak * config.final_fraction, max(steps - hold, 1))
        return optax.join_schedules([warmup, optax.constant_schedule(peak), decay], [config.warmup_steps, hold])
    return optax.join_schedules([warmup, optax.constant_schedule(peak)], [config.warmup_steps])


def labels(params: Any) -> Any:
    """ "muon" or "adam" for each parameter."""

    def label(path: tuple[Any, ...], value: jax.Array) -> str:
        return "muon" if path[-1].key == "kernel" and value.ndim >= 2 else "adam"

    return jax.tree_util.tree_map_with_path(label, params)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by the global norm, then the update rule."""
    clip = optax.clip_by_global_norm(config.clip_norm)
    if config.matrices == "adam":
        rate = schedule(config, config.learning_rate, steps)
        return optax.chain(clip, optax.adamw(rate, b2=config.adam_b2, weight_decay=config.weight_decay))
    muon = optax.chain(
        scale_by_muon(),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(schedule(config, config.learning_rate, steps)),
    )
    adam = optax.adam(schedule(config, config.adam_learning_rate, steps), b2=config.adam_b2)
    return optax.chain(clip, optax.partition({"muon": muon, "adam": adam}, labels))
