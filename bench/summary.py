"""What the samples say: one row for each figure, with a spread for each target, and what was to be reached. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import Spread, paired_differences, paired_ratios, spread

PACED_PER_S = 6400  # 128 streams of 50 tokens
ADAPTER, FASTAPI, NGINX, DIRECT = "adapter", "fastapi", "nginx", "direct"
TITLES = {
    DIRECT: "direct", ADAPTER: "this adapter", FASTAPI: "FastAPI + httpx", "litellm": "LiteLLM proxy", NGINX: "nginx",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A figure that is shown."""

    measure: str
    figure: str
    title: str
    unit: str
    is_added: bool = False  # shown less the same round's direct figure

    @property
    def key(self) -> str:
        """Its name."""
        return f"{self.measure}.{self.figure}"


METRICS = (
    Metric("short", "cpu_us", "CPU per one-token request", "µs"),
    Metric("short-stream", "cpu_us", "CPU per one-token request, streamed", "µs"),
    Metric("paced", "cpu_us", "CPU per streamed token, paced", "µs"),
    Metric("steps", "cpu_us", "CPU per streamed token, paced in steps", "µs"),
    Metric("burst", "cpu_us", "CPU per streamed token, burst", "µs"),
    Metric("first-1", "p50_ms", "first token added, 1 stream, p50", "ms", is_added=True),
    Metric("first-1", "p99_ms", "first token added, 1 stream, p99", "ms", is_added=True),
    Metric("first-32", "p50_ms", "first token added, 32 streams, p50", "ms", is_added=True),
    Metric("first-32", "p99_ms", "first token added, 32 streams, p99", "ms", is_added=True),
    Metric("first-128", "p50_ms", "first token added, 128 streams, p50", "ms", is_added=True),
    Metric("first-128", "p99_ms", "first token added, 128 streams, p99", "ms", is_added=True),
    Metric("joining-128", "p50_ms", "first token added, joining 128 running streams, p50", "ms", is_added=True),
    Metric("joining-128", "p99_ms", "first token added, joining 128 running streams, p99", "ms", is_added=True),
    Metric("paced", "gap_p99_ms", "time between tokens, paced, p99", "ms"),
    Metric("short", "per_s", "one-token requests per second", "/s"),
    Metric("short-stream", "per_s", "one-token requests per second, streamed", "/s"),
    Metric("idle", "memory_mib", "memory after the start", "MiB"),
    Metric("idle", "memory_per_1000_streams_mib", "memory per 1,000 idle streams", "MiB"),
    Metric("growth", "growth_mib", "memory growth over many requests", "MiB"),
)

Samples = Sequence[Mapping[str, Any]]


def by_round(samples: Samples, target: str, measure: str, figure: str) -> dict[int, float]:
    """One figure of one target, by round."""
    return {
        sample["round"]: float(sample["figures"][figure])
        for sample in samples
        if sample["target"] == target and sample["measure"] == measure and figure in sample["figures"]
    }


def values(samples: Samples, target: str, metric: Metric) -> dict[int, float]:
    """A metric of one target, by round. The direct run shows its whole latency where the others show what they add."""
    found = by_round(samples, target, metric.measure, metric.figure)
    if metric.is_added and target != DIRECT:
        return paired_differences(found, by_round(samples, DIRECT, metric.measure, metric.figure))
    return found


@dataclass(frozen=True)
class Row:
    """A metric with its spreads, and how it compares to the adapter in the same rounds."""

    metric: Metric
    spreads: Mapping[str, Spread]
    ratios: Mapping[str, Spread]  # the target's figure divided by the adapter's


def rows(samples: Samples) -> list[Row]:
    """All metrics that were measured."""
    found = []
    for metric in METRICS:
        spreads, ratios = {}, {}
        adapters = values(samples, ADAPTER, metric)
        for target in TITLES:
            mine = values(samples, target, metric)
            if one := spread(list(mine.values())):
                spreads[target] = one
            is_comparable = metric.measure != "growth" and target not in (ADAPTER, DIRECT)
            if is_comparable and (ratio := spread(paired_ratios(mine, adapters))):
                ratios[target] = ratio
        if spreads:
            found.append(Row(metric, spreads, ratios))
    return found


@dataclass(frozen=True)
class Goal:
    """Something to be reached, and what was."""

    title: str
    wanted: str
    found: Spread
    is_reached: bool


def goals(samples: Samples) -> list[Goal]:
    """What issue 3 asks for, as far as this run can tell. Judged by the median."""
    metric = {one.key: one for one in METRICS}

    def ratio(above: str, below: str, key: str) -> Spread | None:
        return spread(paired_ratios(values(samples, above, metric[key]), values(samples, below, metric[key])))

    growth = by_round(samples, ADAPTER, "growth", "growth_mib")
    requests = sum(by_round(samples, ADAPTER, "growth", "units").values())
    wanted: list[tuple[str, str, Spread | None, bool, float]] = [
        ("CPU per paced token", "at most 25 µs", spread(list(values(samples, ADAPTER, metric["paced.cpu_us"]).values())),
         False, 25),
        ("FastAPI + httpx against the adapter, CPU per paced token", "at least 3×",
         ratio(FASTAPI, ADAPTER, "paced.cpu_us"), True, 3),
        ("FastAPI + httpx against the adapter, CPU per one-token request", "at least 10×",
         ratio(FASTAPI, ADAPTER, "short.cpu_us"), True, 10),
        ("first token added, joining 128 running streams, adapter against nginx, p50", "at most 3×",
         ratio(ADAPTER, NGINX, "joining-128.p50_ms"), False, 3),
        ("first token added, 128 streams beginning at once, adapter against nginx, p50", "at most 3×",
         ratio(ADAPTER, NGINX, "first-128.p50_ms"), False, 3),
        ("first token added, 128 streams beginning at once, adapter against nginx, p99", "at most 3×",
         ratio(ADAPTER, NGINX, "first-128.p99_ms"), False, 3),
        (f"growth in memory over {requests:,.0f} requests, without the first tenth", "at most 1 MiB",
         spread(list(growth.values())), False, 1),
    ]  # fmt: skip
    return [
        Goal(title, text, found, found.median >= limit if is_minimum else found.median <= limit)
        for title, text, found, is_minimum, limit in wanted
        if found is not None
    ]


def remarks(samples: Samples) -> list[str]:
    """What a reader must know to read the figures rightly: failures, saturation, limits of the load itself."""
    found = []
    for sample in samples:
        figures, what = sample["figures"], f"{TITLES[sample['target']]}, {sample['measure']}, round {sample['round']}"
        if "failed" in figures:
            found.append(f"{what}: failed: {figures['failed'][:200]}")
        elif "wanted" in figures:
            found.append(f"{what}: {figures['units']} of {figures['wanted']} streams began, the others waited")
        elif figures.get("wrong"):
            found.append(f"{what}: {figures['wrong']} of {figures['wrong'] + figures['units']} answers were wrong")
    for target, title in TITLES.items():
        done = by_round(samples, target, "growth", "units").values()
        found += [f"{title}: memory growth is that of {count:,.0f} requests without the first tenth" for count in done]
        for measure in ("paced", "steps"):
            rate = spread(list(by_round(samples, target, measure, "per_s").values()))
            if rate is not None and rate.median < 0.97 * PACED_PER_S:
                found.append(
                    f"{title} cannot keep up with {measure} tokens: {rate.median:,.0f} of {PACED_PER_S:,} a second. "
                    "Tokens then come together in one read, which makes each one cheaper than it would be"
                )
    return found


def is_limited_by_load(samples: Samples, target: str, metric: Metric) -> bool:
    """Whether requests per second say more about the load generator than about the target: its core was not full."""
    busy = spread(list(by_round(samples, target, metric.measure, "busy").values()))
    return metric.figure == "per_s" and (busy is None or busy.median < 0.9)
