"""The result as JSON for programs and as Markdown for people."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.checkout import commit
from tests.soak.accounting import TOLD, Entry, Outcome, counts
from tests.soak.memory import MIB, Sample
from tests.soak.promises import promises
from tests.soak.soak import Result


def as_json(result: Result, at: datetime) -> dict[str, Any]:
    """Everything that was seen; of the requests their counts, and in full those that are lost."""
    return {
        "at": at.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": result.machine,
        "plan": asdict(result.plan),
        "duration_s": round(result.duration_s, 1),
        "counts": counts(result.entries),
        "left_out": result.left_out,
        "not_sent": result.not_sent,
        "retries": result.retries,
        "disturbances": [asdict(one) for one in result.disturbances],
        "promises": [asdict(one) for one in promises(result)],
        "log_problems": result.log_problems,
        "reasons": reasons(result),
        "lost": [_entry(entry) for entry in result.of([Outcome.LOST])],
        "samples": {name: [getattr(sample, name) for sample in result.samples] for name in Sample.__annotations__},
    }


def reasons(result: Result) -> dict[str, int]:
    """How often each reason was given to those who were told, the most frequent first."""
    return dict(Counter(entry.verdict.reason for entry in result.of(TOLD)).most_common())


def _entry(entry: Entry) -> dict[str, Any]:
    fields = asdict(entry)
    fields["verdict"]["outcome"] = entry.verdict.outcome.value
    return fields


def as_markdown(result: Result, at: datetime) -> str:
    """One page."""
    plan = result.plan
    marks = {True: "kept", False: "**BROKEN**", None: "not judged"}
    rows = [[one.sentence, marks[one.is_kept], _cell(one.detail)] for one in promises(result)]
    table = counts(result.entries)
    outcomes = [outcome.value for outcome in Outcome]
    order = ["all", *(kind for kind in table if kind != "all")]
    count_rows = [
        [kind, str(sum(table[kind].values())), *(str(table[kind][name]) for name in outcomes)] for kind in order
    ]
    rss = [sample.all_rss / MIB for sample in result.samples if sample.all_rss]
    measured = f"{min(rss):.1f} to {max(rss):.1f} MiB in {len(rss)} samples" if rss else "no samples"
    facts = [
        ["date", f"{at:%Y-%m-%d %H:%M} UTC"],
        ["commit", commit()],
        ["machine", result.machine],
        ["duration", f"{result.duration_s / 60:.1f} minutes"],
        ["load", f"{plan.rate:g} requests a second, {plan.streams} standing streams, seed {plan.seed}"],
        [
            "sent",
            f"{len(result.entries)} (not sent for too many in flight: {result.not_sent}; tried again: {result.retries})",
        ],
        ["left out, not on this host", ", ".join(result.left_out) or "nothing"],
        ["memory of the adapter", measured],
    ]
    return "\n".join(
        [
            "# Soak",
            "",
            "Written by `python -m tests.soak`; its `--help` says what is done and how it is judged.",
            "",
            *_table(["", ""], facts),
            "",
            *_table(["promise", "", "seen"], rows),
            "",
            *_table(["requests", "sent", *outcomes], count_rows),
            "",
            *_table(["reason given", "times"], [[_cell(text), str(times)] for text, times in reasons(result).items()]),
            "",
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def write(result: Result, directory: Path) -> None:
    """Write both."""
    at = datetime.now(timezone.utc)
    directory.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in as_json(result, at).items())
    (directory / "result.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    (directory / "RESULTS.md").write_text(as_markdown(result, at), encoding="utf-8")
