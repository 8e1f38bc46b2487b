"""How much memory a run will take, and how much there is: estimated before anything is loaded onto the device for it.

The greater of two moments decides: the UNet on the layer batch, doubled for guidance, and a decoder on one picture; beside both lie the
results. The UNet's factor was measured, the decoders' counts their feature maps; they are meant to be right within a factor of two.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import jax

from dreamlayer_jax.config import DreamLayerConfig
from dreamlayer_jax.request import RequestError

FLOAT = 4
UNET_COPIES = 55
"""Of each picture in the batch, in units of its latents times the finest level's channels: 8 pictures of 512x512 took 2.2 GiB over the
parameters (benchmarks/README.md, a layered step)."""
DECODER_COPIES = 8
"""Feature maps of the decoder's narrowest width, at the picture's size."""


def needed_bytes(config: DreamLayerConfig, layers: int, size: tuple[int, int], scenes: int, batch: int, steps: int) -> int:
    """What sampling takes beside the weights. `layers`: background and foregrounds; `batch` of the `scenes` are made at a time."""
    pixels = math.prod(size)
    latents = pixels // config.vae.downscale**2
    slots = (layers + 1) * batch
    unet = UNET_COPIES * FLOAT * (1 if config.guidance in (0, 1) else 2) * slots * latents * config.unet.block_out_channels[0]
    widest = max(config.vae.block_out_channels[0], config.layer_decoder.block_out_channels[0] * config.vae.patch_size**2)
    decoders = DECODER_COPIES * FLOAT * pixels // config.vae.patch_size**2 * widest
    kept = FLOAT * (layers + 1) * latents * config.unet.in_channels * (steps + 1)
    results = scenes * (kept + pixels * (4 * layers + 12))
    return max(unet, decoders) + FLOAT * 4 * slots * pixels + results


def free_bytes() -> int | None:
    """What the first device can still hold; None where nobody says it."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    return min((limit for limit in (_available(), _control_group(), _address_space()) if limit is not None), default=None)


def check_memory(config: DreamLayerConfig, layers: int, size: tuple[int, int], scenes: int, batch: int, steps: int) -> None:
    """Raises `RequestError`, with a size that fits, if the run would take more memory than there is."""
    free = free_bytes()
    needed = needed_bytes(config, layers, size, scenes, batch, steps)
    if free is None or needed <= free:
        return
    said = f"this takes about {needed / 2**30:.1f} GiB of memory beside the model, and {free / 2**30:.1f} GiB are free"
    anyway = "or try all the same with --any-size"
    if scenes > 1 and needed_bytes(config, layers, size, 1, 1, steps) <= free:
        fits = next(n for n in _halved(scenes) if needed_bytes(config, layers, size, n, min(batch, n), steps) <= free)
        raise RequestError(f"{said}; give --count {fits} --batch {min(batch, fits)}, which fits, {anyway}")
    multiple = config.side_multiple
    for shrink in range(99, 0, -1):
        height, width = (max(multiple, side * shrink // 100 // multiple * multiple) for side in size)
        if needed_bytes(config, layers, (height, width), 1, 1, steps) <= free:
            raise RequestError(f"{said}; give --height {height} --width {width}, which fits, {anyway}")
    raise RequestError(f"{said}; no size of this shape fits: take a smaller model, {anyway}")


def _halved(number: int) -> list[int]:
    found = [number]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _available() -> int | None:
    """What the system could still give."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _control_group() -> int | None:
    """What a container may still take."""
    try:
        most, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        return most - used
    except (OSError, ValueError):  # no container, or one without a limit, which says "max"
        return None


def _address_space() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return None if most == resource.RLIM_INFINITY else most - pages * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return None
