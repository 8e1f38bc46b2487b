"""The one error of everything that reads weights."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 8  # keys of a kind that a message names where the cause is not known; real files have hundreds
HOW = "all of them: --all-keys on the command line, `error.all_keys` in Python"


class WeightsError(ValueError):
    """Weights are missing, damaged or not of this model. The message says which, and what to do; it names keys where they are few."""

    all_keys: str = ""
    """Every key that does not fit, in the file's own names; empty where the error is not about keys."""


def mismatch(cause: str, groups: Sequence[tuple[str, Sequence[str]]], *, known: bool = False) -> WeightsError:
    """The error for keys that do not fit.

    Args:
        cause: what the weights are, and what to do.
        groups: a title and its keys.
        known: the cause explains every key, so that the message is the cause alone.
    """
    groups = [(title, keys) for title, keys in groups if keys]
    count = sum(len(keys) for _, keys in groups)
    if known:
        message = f"{cause} ({count} keys do not fit; {HOW})"
    else:
        lines = [cause]
        for title, keys in groups:
            shown = keys if len(keys) <= SHOWN else [*keys[: SHOWN - 1], f"… and {len(keys) - SHOWN + 1} more"]
            lines += [f"{title} ({len(keys)}):", *(f"  {key}" for key in shown)]
        cut = any(len(keys) > SHOWN for _, keys in groups)
        message = "\n".join([*lines, HOW] if cut else lines)
    error = WeightsError(message)
    error.all_keys = "\n".join(line for title, keys in groups for line in (f"{title} ({len(keys)}):", *(f"  {key}" for key in keys)))
    return error
