"""XLA's compilation cache, for programs: the second run of the same shapes starts fast."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

import jax
import jaxlib

from dreamlayer_jax.files import write_json
from dreamlayer_jax.strict_json import SchemaError, read_json

SIZES = "sizes.json"


def use_compilation_cache() -> None:
    """Keeps compiled programs in $XDG_CACHE_HOME/dreamlayer_jax/xla-VERSION (or ~/.cache/…), unless JAX was told of another place.

    The version is jaxlib's: what another one compiled is of no use. Damaged entries are dropped first, because JAX would warn of them at
    every start and never write them again.
    """
    if not jax.config.jax_compilation_cache_dir:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = home / "dreamlayer_jax" / f"xla-{jaxlib.__version__}"
        with contextlib.suppress(OSError):  # a cache that cannot be mended or written is no reason to stop
            drop_damaged(cache)
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_damaged(cache: Path) -> None:
    """Removes the entries that were cut short. One is read whole only if its size is not the one noted when it was last found whole."""
    if not cache.is_dir():
        return
    try:
        known = read_json(cache / SIZES, dict[str, int])
    except (SchemaError, FileNotFoundError):
        known = {}
    found = {}
    for entry in cache.glob("*-cache"):
        size = entry.stat().st_size
        if known.get(entry.name) == size or _is_whole(entry):
            found[entry.name] = size
        else:
            entry.unlink(missing_ok=True)
    if found != known:
        write_json(cache / SIZES, found)


def _is_whole(entry: Path) -> bool:
    """Whether the entry, compressed by zlib or, where JAX has it, zstandard, ends where it should."""
    content = entry.read_bytes()
    try:
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            import zstandard

            reader = zstandard.ZstdDecompressor().decompressobj()
        else:
            reader = zlib.decompressobj()
        reader.decompress(content)
    except Exception:  # each library has its own kinds
        return False
    return reader.eof
