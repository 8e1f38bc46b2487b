"""What a compiled program sends from chip to chip, read from its HLO text.

A collective in a loop counts as often as the loop runs. Bytes are those that a chip receives, by the usual rings over n chips:
all-gather (n − 1)/n of the result, reduce-scatter (n − 1)/n of the operand, all-reduce both, collective-permute the result.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\([^{]*)?.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) (?P<name>[a-z][a-z\-]*)\((?P<rest>.*)$")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """One kind of collective over one set of mesh axes, for one purpose."""

    kind: str
    over: str
    purpose: str


def traffic(text: str, data: int, layer: int) -> Counter[Traffic]:
    """Bytes that a chip receives while the program runs once, on a mesh of `data` × `layer` chips."""
    computations, entry = _computations(text)
    found: Counter[Traffic] = Counter()
    for line, times in _walk(computations, entry, 1):
        instruction = _INSTRUCTION.match(line)
        kind = instruction["name"].removesuffix("-start")
        if kind not in KINDS:
            continue
        first, size = _group(line, data * layer)
        if size == 1:
            continue
        moved = _received(kind, instruction["shape"], instruction["name"].endswith("-start"), size)
        found[Traffic(kind, _axes(first, size, data, layer), _purpose(line))] += times * moved
    return found


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Instructions of every computation, and the name of the one that starts."""
    computations: dict[str, list[str]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        head = _COMPUTATION.match(line) if not line.startswith(" ") else None
        if head:
            name = head[1]
            computations[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name and _INSTRUCTION.match(line):
            computations[name].append(line)
    return computations, entry


def _walk(computations: dict[str, list[str]], name: str, times: int) -> Iterator[tuple[str, int]]:
    for line in computations[name]:
        yield line, times
        if "custom_call_target" in line:
            continue
        trips = _TRIPS.search(line)
        again = times * (int(trips[1]) if trips else 1)
        called = _CALLED.findall(line) + [name.strip(" %") for names in _BRANCHES.findall(line) for name in names.split(",")]
        for inner in called:
            if inner in computations:
                yield from _walk(computations, inner, again)


def _received(kind: str, shape: str, asynchronous: bool, size: int) -> float:
    arrays = [SIZES[dtype] * _product(sides) for dtype, sides in _ARRAY.findall(shape) if sides or dtype == "f32"]
    if asynchronous and kind != "all-reduce":  # the shape is of operands, results and contexts
        arrays = arrays[len(arrays) // 2 :]
    whole = sum(arrays)
    share = (size - 1) / size
    times = {"all-gather": share, "reduce-scatter": size - 1, "all-reduce": 2 * share, "all-to-all": share, "collective-permute": 1}
    return times[kind] * whole


def _product(sides: str) -> int:
    total = 1
    for side in filter(None, sides.split(",")):
        total *= int(side)
    return total


def _group(line: str, chips: int) -> tuple[list[int], int]:
    """One group of chips that speak to each other, and how many a group has."""
    pairs = re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", line)
    if pairs:
        return [int(pairs[1]), int(pairs[2])], 2
    explicit = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if explicit:
        members = [int(member) for member in explicit[1].split(",")]
        return members, len(members)
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](T\()?", line)
    if iota:
        size = int(iota[2])
        stride = int(iota[3].split(",")[-1]) if iota[4] else 1
        return [i * stride for i in range(size)], size
    return list(range(chips)), chips


def _axes(members: list[int], size: int, data: int, layer: int) -> str:
    """Chips are numbered row by row: those of one row hold the layers of the same scenes."""
    if len({member // layer for member in members}) == 1:
        return "layer"
    if len({member % layer for member in members}) == 1:
        return "data"
    return "data and layer"


def _purpose(line: str) -> str:
    """By the name of the operation that the collective was written in."""
    name = re.search(r'op_name="([^"]*)"', line)
    path = name[1] if name else ""
    if "attn1" in path:
        return "keys and values (Eq. 10-11)"
    if "context_maps" in path:
        return "the global's map and states (Eq. 3-5)"
    if "transformer_blocks" in path and "up_blocks" in path:
        return "the global's states (Eq. 9)"
    return "parameters, gradients, loss"
