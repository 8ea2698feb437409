"""docs/outage.md's table. No I/O."""

from __future__ import annotations

from typing import Any

from bench.marked_part import MarkedPart

BEGIN, END = "<!-- make outage -->", "<!-- end of make outage -->"
HEAD = (
    "change", "11434 failed", "out for", "start of the other server", "longest wait", "503 within", "11435 failed", "kept",
)  # fmt: skip


def with_table(page: str, table: str) -> str:
    """The page with a new table between its two marks.

    :raises ValueError: the marks are not there.
    """
    return MarkedPart("docs/outage.md", BEGIN, END).replaced(page, table)


def table(results: dict[str, Any]) -> str:
    """The results of a run as Markdown, with date, machine and commit below, what is broken, and a note if somebody wrote one."""
    rows = [_row(change) for change in results["changes"]]
    broken = [
        f"- {change['title']}: **{one['sentence']}** – {one['detail']}"
        for change in results["changes"]
        for one in change["verdicts"]
        if not one["is_kept"]
    ]
    lines = [f"| {' | '.join(row)} |" for row in (HEAD, ("---", *["---:"] * (len(HEAD) - 2), "---"), *rows)]
    lines += [
        "",
        f"{results['date'][:10]}, {results['machine']}, load {results['load_average'][2]:g}, commit {results['commit']}.",
    ]
    lines += ["", "Broken:", "", *broken] if broken else []
    return "\n".join([*lines, *(["", note] if (note := results.get("note")) else [])]) + "\n"


def _row(change: dict[str, Any]) -> tuple[str, ...]:
    text, vision, refused = change["text"], change["vision"], change["refusals"]
    is_promised = any(
        "503" in one["sentence"] for one in change["verdicts"]
    )  # elsewhere a start of the adapter is in it
    kept = "–" if not change["verdicts"] else "yes"
    if not all(one["is_kept"] for one in change["verdicts"]):
        kept = "**no**"
    return (
        change["title"],
        f"{text['failed']} of {text['sent']:,}",
        f"{text['outage_s']:.2f} s" if text["failed"] else "–",
        f"{change['start_s']:.2f} s" if change["start_s"] is not None else "–",
        f"{text['worst_latency_s']:.2f} s",
        f"{refused['p99_s'] * 1000:.0f} ms" if is_promised else "–",
        f"{vision['failed']} of {vision['sent']:,}",
        kept,
    )
