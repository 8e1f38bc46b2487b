"""What harmonisation costs beside a generation: seconds of both, compiled, one after the other in turn.

python -m benchmarks.harmony_cost --weights pocket
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import tyro

from dreamlayer_jax.pipeline import DreamLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonyCost:
    """Generates with and without harmonisation."""

    weights: str = "pocket"
    steps: int = 50
    repeats: int = 5


def main(options: HarmonyCost) -> None:
    """Prints the medians."""
    model = DreamLayer.from_pretrained(options.weights)

    def seconds(harmonize: bool) -> float:
        start = time.perf_counter()
        model.generate(
            background="a sandy beach", foregrounds=["a red apple", "a dog"], steps=options.steps, harmonize=harmonize
        )  # the layers come back as NumPy arrays: nothing is left to wait for
        return time.perf_counter() - start

    taken = [(seconds(False), seconds(True)) for _ in range(1 + options.repeats)][1:]
    without, whole = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"| {model.config.name} | {without:.2f} s | {whole:.2f} s | {whole / without - 1:.0%} |")


if __name__ == "__main__":
    main(tyro.cli(HarmonyCost))
