"""What vLLM's /metrics tell of its KV cache: its size, whether beginnings are kept, and what that gave. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.host.cache import CacheCount, cache_count

CONFIG = "vllm:cache_config_info{"


@dataclass(frozen=True)
class EngineCache:
    """`tokens` that it holds, in `requests` of the full context; `count` of tokens looked up and found since vLLM started."""

    keeps_beginnings: bool
    tokens: int
    requests: float
    count: CacheCount | None

    def __str__(self) -> str:
        room = f"the KV cache holds {self.tokens} tokens = {self.requests:.1f} requests of max_model_len"
        if not self.keeps_beginnings:
            return f"{room}; prefix caching is off"
        if self.count is None or not self.count.queries:
            return f"{room}; nobody has asked yet"
        rate = 100 * self.count.hits / self.count.queries
        return f"{room}; prefix cache: {rate:.1f} % of {self.count.queries:.0f} prompt tokens were there since vLLM started"


def parse_engine_cache(metrics: str) -> EngineCache | None:
    """From a page of /metrics; None where it does not describe the cache. Of several engines the first."""
    line = next((line for line in metrics.splitlines() if line.startswith(CONFIG)), "")
    labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line))
    try:
        return EngineCache(
            keeps_beginnings=labels["enable_prefix_caching"] == "True",
            tokens=int(labels["kv_cache_size_tokens"]),
            requests=float(labels["kv_cache_max_concurrency"]),
            count=cache_count(metrics),
        )
    except (KeyError, ValueError):
        return None
