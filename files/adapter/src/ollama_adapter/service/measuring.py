"""What an exchange that is over adds to the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..http.exchange import Exchange
from .metrics import (
    ABORTED,
    DURATION,
    FIRST_TOKEN,
    INTER_TOKEN,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    REQUESTS,
    Metrics,
)

_CLIENT_GONE = 499


class Measuring:
    """Counts exchanges. The model's label is its name in the listings, so that clients cannot invent label values."""

    def __init__(self, metrics: Metrics, model_label: Callable[[str], str]) -> None:
        """:param model_label: the label for a name as a client wrote it; "" for one that nobody serves."""
        self._metrics = metrics
        self._model_label = model_label

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        metrics, now = self._metrics, time.monotonic_ns()
        route = exchange.route or "other"
        model = self._model_label(exchange.model) if exchange.model else ""
        metrics.add(REQUESTS, 1, route, model, str(exchange.status))
        metrics.observe(DURATION, (now - exchange.received_ns) / 1e9, route, model)
        if exchange.status == _CLIENT_GONE:
            metrics.add(ABORTED, 1, route, model)
        if exchange.prompt_tokens:
            metrics.add(PROMPT_TOKENS, exchange.prompt_tokens, model)
        if not exchange.output_tokens:
            return
        metrics.add(OUTPUT_TOKENS, exchange.output_tokens, model)
        if exchange.first_byte_ns:
            metrics.observe(FIRST_TOKEN, (exchange.first_byte_ns - exchange.received_ns) / 1e9, model)
            if exchange.output_tokens > 1:
                mean_s = (now - exchange.first_byte_ns) / 1e9 / (exchange.output_tokens - 1)
                metrics.observe(INTER_TOKEN, mean_s, model)
