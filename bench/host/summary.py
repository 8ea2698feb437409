"""Figures of a cell from its single answers. No I/O.

Percentiles are by nearest rank: the smallest value that at least so many per cent of the values do not exceed. With fewer
than 100 answers the 99th is the largest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.figures import quantile

OK, CUT_OFF = "ok", "cut-off"
SHARES = (50, 95, 99)
METRICS = ("ttft_ms", "itl_ms", "e2e_ms")


@dataclass(frozen=True)
class Cell:
    """One combination that is measured on every target."""

    workload: str
    concurrency: int
    stream: bool

    @property
    def key(self) -> str:
        """Its name: `mix, 4 at once, streamed`."""
        return f"{self.workload}, {self.concurrency} at once, {'streamed' if self.stream else 'whole'}"


@dataclass(frozen=True)
class Answer:
    """What came of one request. Times in milliseconds, tokens by the server's count; None where there is none."""

    target: str
    workload: str
    concurrency: int
    stream: bool
    number: int
    started_s: float  # since the run began
    kind: str  # ok, cut-off (by the end of the run), or the kind of error
    detail: str = ""
    e2e_ms: float | None = None
    ttft_ms: float | None = None  # to the first text, not to the head
    itl_ms: float | None = None
    largest_gap_ms: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    cached_tokens: int | None = None
    pieces: int = 0
    ended: str = ""


def inter_token_ms(first_ns: int, over_ns: int, tokens: int | None) -> float | None:
    """The time between two tokens of an answer: from its first text to its end, over the server's count less one.

    To the end and not to the last text, because the count has the last token too, which often has no text.
    """
    if tokens is None or tokens < 2:
        return None
    return (over_ns - first_ns) / 1e6 / (tokens - 1)


def row(target: str, cell: Cell, answers: Sequence[Answer], wall_s: float, hit_rate: float | None) -> dict[str, Any]:
    """The figures of one target in one cell."""
    good = [answer for answer in answers if answer.kind == OK]
    errors = Counter(answer.kind for answer in answers if answer.kind not in (OK, CUT_OFF))
    uncounted = sum(answer.answer_tokens is None for answer in good)
    figures: dict[str, Any] = {
        "target": target,
        **asdict(cell),
        "requests": len(answers),
        "ok": len(good),
        "cut_off": sum(answer.kind == CUT_OFF for answer in answers),
        "errors": dict(sorted(errors.items())),
        "uncounted": uncounted,
        "wall_s": round(wall_s, 3),
        "requests_per_s": len(good) / wall_s if good and wall_s > 0 else None,
        "tokens_per_s": None,
        "prompt_tokens": _sum(answer.prompt_tokens for answer in good),
        "answer_tokens": _sum(answer.answer_tokens for answer in good),
        "prefix_hit_rate": hit_rate,
    }
    if figures["answer_tokens"] is not None and wall_s > 0:
        figures["tokens_per_s"] = figures["answer_tokens"] / wall_s
    for metric in METRICS:
        values = [value for answer in good if (value := getattr(answer, metric)) is not None]
        for share in SHARES:
            figures[f"{metric}_p{share}"] = quantile(values, share / 100) if values else None
    return figures


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """The same with numbers to the thousandth, which for milliseconds is a microsecond."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def _sum(values: Any) -> int | None:
    """The sum, None where one is missing or there are none."""
    counts = list(values)
    return sum(counts) if counts and None not in counts else None
