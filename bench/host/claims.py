"""The guide's comparison: what it claims, beside what was measured. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import digits

Row = Mapping[str, Any]
PHASE1, ADAPTER, VLLM = "phase1", "adapter", "vllm"


@dataclass(frozen=True)
class Compared:
    """A line: the claims for Ollama, vLLM and the gain, and what was measured of each; `how` says of what."""

    metric: str
    claimed: tuple[str, str, str]
    measured: tuple[str, str, str]
    how: str


NOT_MEASURED = "not measured"


def compared(rows: Sequence[Row]) -> list[Compared]:
    """The guide's table. "Ollama" is the target phase1; "vLLM" is the adapter, which is what clients get, else vllm."""
    names = {row["target"] for row in rows}
    served = ADAPTER if ADAPTER in names else VLLM
    latency = {name: _latency(rows, name) for name in (PHASE1, served)}
    rate = {name: _rate(rows, name) for name in (PHASE1, served)}
    caching = {name: prefix_gain(rows, name) for name in (PHASE1, served)}
    batching = {name: _batching(rows, name) for name in (PHASE1, served)}
    return [
        Compared(
            "Latency", ("2–3 s", "0.5–0.8 s", "3–6x faster"),
            (_say(latency[PHASE1], "s"), _say(latency[served], "s"), _gain(latency[PHASE1], latency[served])),
            "the five prompts one after the other, whole answers: end to end, p50",
        ),
        Compared(
            "Throughput", ("1–2 req/s", "5–10 req/s", "5–10x better"),
            (_say(rate[PHASE1], "req/s"), _say(rate[served], "req/s"), _gain(rate[served], rate[PHASE1])),
            "the five prompts: the most answers a second of all numbers at once",
        ),
        Compared(
            "Batching", ("Limited", "Full", "Continuous"),
            (_times(batching[PHASE1]), _times(batching[served]), _gain(batching[served], batching[PHASE1])),
            "the same: that rate over the rate with one at once",
        ),
        Compared(
            "KV cache (prefix)", ("No", "Yes", "2–5x on follow-up requests"),
            (_times(caching[PHASE1]), _times(caching[served]), _times(caching[served])),
            "first text p50 with a beginning that is new, over that with one that is repeated",
        ),
    ]  # fmt: skip


def prefix_gain(rows: Sequence[Row], target: str) -> float | None:
    """How many times sooner the first text comes with a repeated beginning; with the fewest at once that has both."""
    found = {(row["workload"], row["concurrency"]): row["ttft_ms_p50"] for row in rows if row["target"] == target}
    for concurrency in sorted({key[1] for key in found}):
        cold, warm = found.get(("prefix-cold", concurrency)), found.get(("prefix-repeated", concurrency))
        if cold and warm:
            return float(cold / warm)
    return None


def _latency(rows: Sequence[Row], target: str) -> float | None:
    found = [row["e2e_ms_p50"] for row in _guide(rows, target) if row["concurrency"] == 1 and not row["stream"]]
    return found[0] / 1000 if found and found[0] is not None else None


def _rate(rows: Sequence[Row], target: str) -> float | None:
    found = [row["requests_per_s"] for row in _guide(rows, target) if row["requests_per_s"] is not None]
    return max(found) if found else None


def _batching(rows: Sequence[Row], target: str) -> float | None:
    def best(is_wanted: Callable[[int], bool]) -> float | None:
        rates = [
            row["requests_per_s"]
            for row in _guide(rows, target)
            if row["requests_per_s"] is not None and is_wanted(row["concurrency"])
        ]
        return max(rates) if rates else None

    alone, together = best(lambda count: count == 1), best(lambda count: count > 1)
    return together / alone if alone and together else None


def _guide(rows: Sequence[Row], target: str) -> list[Row]:
    return [row for row in rows if row["target"] == target and row["workload"] == "guide"]


def _say(value: float | None, unit: str) -> str:
    return NOT_MEASURED if value is None else f"{digits(value)} {unit}"


def _times(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{digits(value)}x"


def _gain(above: float | None, below: float | None) -> str:
    return NOT_MEASURED if not above or not below else f"{digits(above / below)}x"
