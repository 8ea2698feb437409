"""What the panels' queries give: asked of the Prometheus of the data source, over the time that the page shows."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 20
AGO = re.compile(r"now(?:-(\d+)([smhd]))?")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class AskError(Exception):
    """What the panel shows instead of data."""


@dataclass(frozen=True)
class Span:
    """The time that a page shows, in seconds since 1970."""

    start: float
    end: float

    def step(self, pixels: float, interval_s: float) -> float:
        """Between two points: no closer than samples or pixels are."""
        return max(interval_s, round((self.end - self.start) / max(pixels, 1)))


@dataclass(frozen=True)
class Line:
    """A series. points: (time, value); labels: as Prometheus told them."""

    name: str
    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None


def span_of(start: str, end: str, now: float | None = None) -> Span:
    """From the words of a page's address or its dashboard: `now-1h`, or milliseconds since 1970. Raises ValueError."""
    moment = time.time() if now is None else now
    return Span(_moment(start, moment), _moment(end, moment))


def _moment(text: str, now: float) -> float:
    found = AGO.fullmatch(text)
    if found is None:
        return int(text) / 1000
    return now - (int(found[1]) * SECONDS[found[2]] if found[1] else 0)


def lines(url: str, target: Mapping[str, Any], span: Span, step: float) -> list[Line]:
    """The series of a query, each with the name that its legend gives it. Raises AskError."""
    if target.get("instant"):
        answer = _ask(url, "query", {"query": target["expr"], "time": f"{span.end:.3f}"})
        found = [(one["metric"], [one["value"]]) for one in answer]
    else:
        start = span.start - span.start % step
        asked = {"query": target["expr"], "start": f"{start:.3f}", "end": f"{span.end:.3f}", "step": f"{step:g}"}
        found = [(one["metric"], one["values"]) for one in _ask(url, "query_range", asked)]
    return [
        Line(_legend(target["legendFormat"], labels), labels, _numbers(values))
        for labels, values in sorted(found, key=lambda one: sorted(one[0].items()))
    ]


def _numbers(values: list[list[Any]]) -> tuple[tuple[float, float], ...]:
    """Points that can be drawn: Prometheus writes NaN where a quantile has nothing to go by."""
    return tuple((float(at), number) for at, text in values if (number := float(text)) == number)


def _ask(url: str, path: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode(asked).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/api/v1/{path}", body, TIMEOUT_S) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as problem:
        said = problem.read(2000).decode(errors="replace")
        raise AskError(said) from None
    except (OSError, ValueError, KeyError) as problem:
        raise AskError(f"{url}: {problem}") from None
    return result


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    if pattern == "__auto":
        named = {key: value for key, value in labels.items() if key != "__name__"}
        return "{" + ", ".join(f'{key}="{value}"' for key, value in named.items()) + "}" if named else "Value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), pattern).strip()
