"""The results as Markdown tables for the terminal and the page. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.figures import digits
from bench.host.claims import Compared
from bench.host.identity import FIELDS, Identity
from bench.host.summary import SHARES, Cell

Results = Mapping[str, Any]
HEAD = (
    "target", "first text ms p50 / p95 / p99", "between tokens ms p50 / p95 / p99", "end to end ms p50 / p95 / p99",
    "tokens/s", "requests/s", "right", "errors", "prefix hits",
)  # fmt: skip


def text(results: Results) -> str:
    """Everything, as Markdown."""
    parts = [
        *(f"**{warning}**\n" for warning in warnings(results)),
        markdown(*identities(results), caption(results, "Models")),
    ]
    parts.append(markdown(*comparison(results), caption(results, "The guide's comparison")))
    for cell, lines in cells(results):
        parts.append(markdown(HEAD, lines, caption(results, cell)))
    parts += [f"- {note}" for note in notes(results)]
    return "\n".join(parts) + "\n"


def caption(results: Results, title: str) -> str:
    """A table's title, with what a reader of this table alone must know."""
    marks = ["UNLIKE MODELS"] * results["is_unlike"] + ["PARTIAL"] * results["is_partial"]
    return f"{title} [{', '.join(marks)}]" if marks else title


def warnings(results: Results) -> list[str]:
    """What stands above everything."""
    found = []
    if results["is_unlike"]:
        found.append(
            "UNLIKE MODELS: the targets do not serve the same model; ratios say nothing about the servers alone."
        )
        found += [f"– {difference}" for difference in results["differences"]]
    if results["is_partial"]:
        found.append(
            f"PARTIAL: {results['stopped']}. What there was no time for: {'; '.join(results['missing']) or 'nothing whole'}."
        )
    found += [f"ABSENT: {why.splitlines()[0]}" for why in results["absent"].values()]
    return found


def identities(results: Results) -> tuple[Sequence[str], list[list[str]]]:
    """Head and lines: what each target says of its model."""
    head = ("target", "URL", "name", *FIELDS)
    lines = []
    for name, target in results["targets"].items():
        said = Identity.read(target["identity"])
        told = [str(getattr(said, field) or "not told") for field in FIELDS]
        lines.append([name, target["url"], said.called, *told])
    return head, lines


def comparison(results: Results) -> tuple[Sequence[str], list[list[str]]]:
    """Head and lines: the guide's table. Every claim is marked as one."""
    head = (
        "metric", "Ollama, claimed", "Ollama, measured", "vLLM, claimed", "vLLM, measured", "gain, claimed", "gain, measured",
        "measured how",
    )  # fmt: skip
    lines = []
    for raw in results["comparison"]:
        one = Compared(**raw)
        pairs = [
            cell for claim, value in zip(one.claimed, one.measured, strict=True) for cell in (f"(claim) {claim}", value)
        ]
        lines.append([one.metric, *pairs, one.how])
    return head, lines


def cells(results: Results) -> list[tuple[str, list[list[str]]]]:
    """Each cell's name, and a line for each target."""
    found: dict[str, list[list[str]]] = {}
    for row in results["rows"]:
        name = Cell(row["workload"], row["concurrency"], row["stream"]).key
        found.setdefault(name, []).append(_line(row))
    return list(found.items())


def notes(results: Results) -> list[str]:
    """How the figures are to be read, and what was odd."""
    machine = results["machine"]
    found = [
        f"{results['date'][:10]}, asked from {machine['cpu']}, {machine['cores']} cores, "
        f"load {machine['load_average_before'][0]:.1f} before; {results['seconds']:.0f} s, seed {results['plan']['seed']}",
        results["method"],
    ]
    if results.get("is_one_model"):
        found.append("the names of the targets are those of one model: the word of whoever ran it (--one-model)")
    uncounted = sorted({row["target"] for row in results["rows"] if row["uncounted"]})
    if uncounted:
        found.append(
            f"no count of tokens came from {', '.join(uncounted)} in some answers: there are no tokens/s for them"
        )
    if results["own_busy"] > 0.7:
        found.append(f"this program took {results['own_busy']:.0%} of a core: rates may be its limit, not the server's")
    return found


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]], title: str) -> str:
    """A table with a title."""

    def line(values: Sequence[str]) -> str:
        return f"| {' | '.join(value.replace('|', chr(92) + '|') for value in values)} |"

    return "\n".join([f"### {title}", "", line(head), f"|{' --- |' * len(head)}", *map(line, lines)]) + "\n"


def _line(row: Mapping[str, Any]) -> list[str]:
    errors = ", ".join(f"{count}× {kind}" for kind, count in row["errors"].items())
    cut = f"{row['cut_off']}× cut off" if row["cut_off"] else ""
    rate = row["prefix_hit_rate"]
    return [
        row["target"] + (" (partial)" if row["is_partial"] else ""),
        *(_three(row, metric) for metric in ("ttft_ms", "itl_ms", "e2e_ms")),
        _number(row["tokens_per_s"]),
        _number(row["requests_per_s"]),
        f"{row['ok']} of {row['requests']}",
        ", ".join(filter(None, (errors, cut))) or "none",
        "–" if rate is None else f"{rate:.0%}",
    ]


def _three(row: Mapping[str, Any], metric: str) -> str:
    values = [row[f"{metric}_p{share}"] for share in SHARES]
    return "–" if values[0] is None else " / ".join(map(digits, values))


def _number(value: float | None) -> str:
    return "–" if value is None else digits(value)
