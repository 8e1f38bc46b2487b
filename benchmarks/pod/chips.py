"""What a TPU chip can do, as Google publishes it (cloud.google.com/tpu/docs/v5e, …/v5p), and topologies of them that are not here."""

from __future__ import annotations

import dataclasses
import os

import jax
from jax.experimental.topologies import get_topology_desc


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """Peaks of one chip."""

    flops: float
    """bfloat16, a second."""
    memory: float
    """Bytes."""
    memory_bandwidth: float
    """Bytes a second."""
    link_bandwidth: float
    """Bytes a second over all of the chip's links to other chips, both directions."""


CHIPS = {
    "v5e": Chip(flops=197e12, memory=16 * 2**30, memory_bandwidth=819e9, link_bandwidth=1600e9 / 8),
    "v5p": Chip(flops=459e12, memory=95 * 2**30, memory_bandwidth=2765e9, link_bandwidth=4800e9 / 8),
}


def topology(name: str) -> tuple[Chip, list[jax.Device]]:
    """The chip of a topology such as "v5e:2x4", and its devices, for which programs can be compiled but not run.

    Raises:
        ModuleNotFoundError: libtpu, Google's TPU compiler, is not installed (`pip install '.[tpu]'`).
        ValueError: the chip is not known here.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no metadata server to ask
    kind = name.partition(":")[0]
    if kind not in CHIPS:
        raise ValueError(f"the topology {name!r} is of a chip whose peaks are not known; known are {', '.join(CHIPS)}")
    import libtpu  # noqa: F401

    return CHIPS[kind], list(get_topology_desc(topology_name=name, platform="tpu").devices)
