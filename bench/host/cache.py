"""vLLM's own count of what its prefix cache gave. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

QUERIES, HITS = "vllm:prefix_cache_queries", "vllm:prefix_cache_hits"


@dataclass(frozen=True)
class CacheCount:
    """Tokens that were looked up, and those of them that were there, since vLLM started."""

    queries: float
    hits: float


def cache_count(metrics: str) -> CacheCount | None:
    """The sums over all engines in a page of /metrics; None where it has no such counters."""
    queries, hits = _values(metrics, QUERIES), _values(metrics, HITS)
    return CacheCount(sum(queries), sum(hits)) if queries and hits else None


def hit_rate(before: CacheCount | None, after: CacheCount | None) -> float | None:
    """The share of tokens between two readings that were there; None where it is not known (vLLM restarted, nothing asked)."""
    if before is None or after is None or after.queries <= before.queries or after.hits < before.hits:
        return None
    return (after.hits - before.hits) / (after.queries - before.queries)


def _values(metrics: str, name: str) -> list[float]:
    return list(_numbers(line for line in metrics.splitlines() if line.startswith((f"{name}_total{{", f"{name}{{"))))


def _numbers(lines: Iterable[str]) -> Iterable[float]:
    for line in lines:
        try:
            yield float(line.rpartition("}")[2].split()[0])
        except (ValueError, IndexError):
            continue
