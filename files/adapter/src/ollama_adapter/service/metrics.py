"""Counters and histograms of one process, and their text for Prometheus.

Plain integers and lists: a request costs a few dictionary look-ups, a chunk nothing. Processes that share a port keep
their own and add them up when somebody asks (`Metrics.state`, `Metrics.include`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_PREFIX = "ollama_adapter_"


@dataclass(frozen=True)
class Family:
    """A metric with its labels. A histogram has buckets, in seconds."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Family("requests", "counter", "Requests answered.", ("route", "model", "status"))
ABORTED = Family("aborted_requests", "counter", "Requests whose client left before the answer.", ("route", "model"))
DURATION = Family(
    "request_duration_seconds", "histogram", "From the head of a request to the end of its answer.",
    ("route", "model"), _SECONDS,
)  # fmt: skip
FIRST_TOKEN = Family(
    "time_to_first_token_seconds", "histogram", "From the head of a request to the first bytes of a streamed answer.",
    ("model",), _SECONDS,
)  # fmt: skip
INTER_TOKEN = Family(
    "inter_token_latency_seconds", "histogram", "Mean time between two tokens of a streamed answer; one value each.",
    ("model",), _SHORT_SECONDS,
)  # fmt: skip
PROMPT_TOKENS = Family("prompt_tokens", "counter", "Tokens of prompts, cached ones included.", ("model",))
OUTPUT_TOKENS = Family("output_tokens", "counter", "Tokens generated.", ("model",))
IN_FLIGHT = Family("requests_in_flight", "gauge", "Requests that are being answered.")
CONNECTIONS = Family("client_connections", "gauge", "Connections of clients.")
UPSTREAM_UP = Family("upstream_up", "gauge", "1 where the upstream's health check succeeds.", ("upstream", "url"))
UPSTREAM_CALLS = Family("upstream_requests_in_flight", "gauge", "Requests on their way.", ("upstream", "url"))
INFO = Family("info", "info", "The adapter.", ("version",))

FAMILIES = (
    REQUESTS, ABORTED, DURATION, FIRST_TOKEN, INTER_TOKEN, PROMPT_TOKENS, OUTPUT_TOKENS, IN_FLIGHT, CONNECTIONS,
    UPSTREAM_UP, UPSTREAM_CALLS, INFO,
)  # fmt: skip

Labels = tuple[str, ...]


class Metrics:
    """The values of one process."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        # Counts by bucket with the one above all buckets last, then the sum.
        self._histograms: dict[str, dict[Labels, list[float]]] = {}

    def add(self, family: Family, amount: float, *labels: str) -> None:
        """Count."""
        values = self._values.setdefault(family.name, {})
        values[labels] = values.get(labels, 0) + amount

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._values.setdefault(family.name, {})[labels] = value

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        histograms = self._histograms.setdefault(family.name, {})
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = [0.0] * (len(family.buckets) + 2)
        histogram[bisect_left(family.buckets, value)] += 1
        histogram[-1] += value

    def state(self) -> dict[str, Any]:
        """Everything, for another process: JSON has lists where this has tuples."""
        return {
            "values": {name: list(values.items()) for name, values in self._values.items()},
            "histograms": {name: list(values.items()) for name, values in self._histograms.items()},
        }

    def include(self, state: Mapping[str, Any]) -> None:
        """Add the values of another process."""
        for name, values in state["values"].items():
            own = self._values.setdefault(name, {})
            for labels, value in values:
                key = tuple(labels)
                own[key] = own.get(key, 0) + value
        for name, values in state["histograms"].items():
            histograms = self._histograms.setdefault(name, {})
            for labels, numbers in values:
                key = tuple(labels)
                histograms[key] = [
                    a + b for a, b in zip(histograms.get(key, [0.0] * len(numbers)), numbers, strict=True)
                ]

    def text(self, *, openmetrics: bool) -> bytes:
        """The exposition. In OpenMetrics a counter's family has no `_total`, in the older format it has."""
        lines: list[str] = []
        for family in FAMILIES:
            samples = self._samples(family)
            suffix = "_total" if family.kind == "counter" else "_info" if family.kind == "info" else ""
            name = _PREFIX + family.name if family.kind != "info" else _PREFIX.rstrip("_")
            shown = name if openmetrics else name + suffix
            kind = "gauge" if family.kind == "info" and not openmetrics else family.kind
            lines += (f"# HELP {shown} {family.help}", f"# TYPE {shown} {kind}")
            lines += (f"{name}{part} {value}" for part, value in samples)
        if openmetrics:
            lines.append("# EOF")
        return ("\n".join(lines) + "\n").encode()

    def _samples(self, family: Family) -> Iterable[tuple[str, str]]:
        """The samples of a family: what follows its name, and the value."""
        if family.kind != "histogram":
            suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
            for labels, value in sorted(self._values.get(family.name, {}).items()):
                yield suffix + _labels(family.labels, labels), _number(value)
            return
        for labels, numbers in sorted(self._histograms.get(family.name, {}).items()):
            count = 0.0
            for bound, amount in zip((*family.buckets, float("inf")), numbers[:-1], strict=True):
                count += amount
                limit = "+Inf" if bound == float("inf") else str(float(bound))
                yield "_bucket" + _labels((*family.labels, "le"), (*labels, limit)), _number(count)
            yield "_sum" + _labels(family.labels, labels), _number(numbers[-1])
            yield "_count" + _labels(family.labels, labels), _number(count)


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics; Prometheus lists it first where it can read it."""
    return "application/openmetrics-text" in accept


def _labels(names: tuple[str, ...], values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
