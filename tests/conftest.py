"""Strict settings for every test: four virtual CPU devices, no silent rank promotion, the same hypothesis examples each run."""

from __future__ import annotations

import os

# Before jax is first imported: tests of pmap and shard_map need several devices, and figures must not depend on the machine's GPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Shapes are small and compiling is most of the time, so XLA leaves its optimisations out.
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=0"]
).strip()

import hypothesis
import jax

jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile("project", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("project")
