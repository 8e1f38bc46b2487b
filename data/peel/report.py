"""report.md: what became of every picture, beside what the paper tells of its data."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping

from data.peel.run import Account, Run

PAPER = {2: 305_801, 3: 87_571, 4: 14_815}  # Appendix A, Table 5: pictures of each number of layers


def report(run: Run, account: Account, left_out: Mapping[str, int], chosen: int) -> str:
    """The account as Markdown."""
    counts, total = account.counts, len(account.outcomes)
    lines = [
        "# Pictures to layers",
        "",
        f"{total} pictures; {chosen} in the data set. Settings {run.digest}, stages: {run.stages.described}.",
        "",
    ]
    lines += _table(
        ("outcome", "pictures", "share"),
        [(name, counts[name], _percent(counts[name], total)) for name in ("accepted", "rejected", "failed")],
    )
    if account.reasons:
        lines += ["", "Rejected:", "", *_table(("reason", "pictures"), account.reasons.most_common())]
    if left_out:
        lines += ["", "Accepted, and left out of the data set:", "", *_table(("reason", "pictures"), sorted(left_out.items()))]
    failures = {source: outcome.reason for source, outcome in account.outcomes.items() if outcome.status == "failed"}
    if failures:
        lines += [
            "",
            "Failed, and tried again by the next run:",
            "",
            *(f"- {source}: {reason}" for source, reason in sorted(failures.items())[:20]),
        ]
    accepted = [outcome for outcome in account.outcomes.values() if outcome.status == "accepted"]
    layers = collections.Counter(outcome.layers for outcome in accepted)
    paper = sum(PAPER.values())
    rows = [(k, layers[k], _percent(layers[k], len(accepted)), _percent(PAPER.get(k, 0), paper)) for k in sorted({*layers, *PAPER})]
    lines += ["", "Layers, background included:", "", *_table(("layers", "pictures", "share", "share in the paper's data"), rows)]
    names = collections.Counter(prompt for outcome in accepted for prompt in outcome.prompts[1:])
    lines += ["", f"{len(names)} different foregrounds; the most frequent:", "", *_table(("foreground", "layers"), names.most_common(20))]
    seconds = [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in sorted((run.work / "times").glob("*.json"))]
    if seconds:
        lines += ["", f"{sum(seconds) / len(seconds):.1f} seconds a picture, {max(seconds):.1f} at most."]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
