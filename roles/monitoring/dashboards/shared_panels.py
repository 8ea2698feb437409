"""Panels that more than one page shows, each with the words of its page."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import (
    ERROR_SHARE,
    HIT_RATE,
    IN_PHASE_1,
    KV_CACHE,
    KV_CACHE_OF,
    OF_ADAPTER,
    REQUESTS,
    STATUS_COLOURS,
)
from roles.monitoring.dashboards.panels import BLUE, GREEN, ORANGE, RED, Panel, Query, graph, rate, stat


def requests(description: str) -> Panel:
    """Answers of the adapter in a second, as a number."""
    return stat("Requests", description, rate(REQUESTS), "reqps", steps=((None, BLUE),), none=IN_PHASE_1)


def errors(description: str) -> Panel:
    """The share of 5xx, as a number."""
    steps = ((None, GREEN), (0.01, ORANGE), (0.05, RED))
    return stat("Errors", description, ERROR_SHARE, "percentunit", steps=steps, none=IN_PHASE_1)


def by_status(title: str, description: str) -> Panel:
    """Answers of the adapter in a second, by their status."""
    queries = [Query(rate(REQUESTS, "status"), "{{status}}")]
    return graph(title, description, queries, "reqps", stacked=True, colours=STATUS_COLOURS, none=IN_PHASE_1)


def tokens_by_model(title: str, description: str) -> Panel:
    """Tokens that the adapter passed on in a second, by model."""
    queries = [Query(rate(f"ollama_adapter_output_tokens_total{OF_ADAPTER}", "model"), "{{model}}")]
    return graph(title, description, queries, "suffix:tok/s", stacked=True, none=IN_PHASE_1)


def kv_cache(description: str) -> Panel:
    """The share of each vLLM's KV cache in use, with the alert's bound."""
    steps = ((None, GREEN), (0.95, RED))
    queries = [Query(KV_CACHE, KV_CACHE_OF)]
    return graph("KV cache in use", description, queries, "percentunit", steps=steps, top=1, none=IN_PHASE_1)


def hit_rate(description: str) -> Panel:
    """What the prefix cache gave."""
    queries = [Query(HIT_RATE, "hits")]
    return graph("Prefix cache: hit rate", description, queries, "percentunit", top=1, none=IN_PHASE_1)
