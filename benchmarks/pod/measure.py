"""One program compiled for one mesh of chips that are not here: memory, operations, traffic and a bound on its time."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any

import jax

from benchmarks.pod.chips import Chip
from benchmarks.pod.hlo import Traffic, traffic
from benchmarks.pod.programs import Program, bytes_a_chip
from dreamlayer_jax.place import Place
from train.model_flops import count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """Per chip, of one run of the program."""

    arguments: int
    beside: int
    """Bytes on the chip that the program does not touch: the optimizer's state and the average."""
    temporaries: int
    outputs: int
    flops: float
    """Products and convolutions, counted on the program before XLA (gradient checkpointing's second forward pass too), over all chips."""
    bytes_accessed: float
    """XLA's own count of what goes to and from the chip's memory; the body of a loop counts once, so it is a lower bound."""
    received: Counter[Traffic]
    pallas_calls: int
    """Pallas kernels in the program: attention's."""
    compile_seconds: float

    @property
    def memory(self) -> int:
        """All that is on the chip at the same time."""
        return self.arguments + self.beside + self.temporaries + self.outputs

    def seconds(self, chip: Chip) -> dict[str, float]:
        """The time that each resource alone would need at its published peak. The step takes at least the longest of them."""
        links = sum(self.received.values()) / chip.link_bandwidth
        return {"products": self.flops / chip.flops, "memory": self.bytes_accessed / chip.memory_bandwidth, "links": links}


def compiled(program: Program, place: Place, one_device: Program | None = None) -> Compiled:
    """Compiles for the place's devices; `one_device` is the same program without a mesh, whose operations are counted."""
    counted = one_device or program
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), counted.arguments)
    flops = count(jax.make_jaxpr(counted.function)(*shapes).jaxpr) / place.mesh.size
    start = time.monotonic()
    lowered = jax.jit(program.function, out_shardings=program.out_shardings).lower(*program.arguments)
    executable = lowered.compile()
    seconds = time.monotonic() - start
    memory: Any = executable.memory_analysis()
    text = executable.as_text()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        beside=bytes_a_chip(program.beside),
        temporaries=memory.temp_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        flops=flops,
        bytes_accessed=float(executable.cost_analysis()["bytes accessed"]),
        received=traffic(text, place.mesh.shape["data"], place.mesh.shape["layer"]),
        pallas_calls=text.count('custom_call_target="tpu_custom_call"'),
        compile_seconds=seconds,
    )
