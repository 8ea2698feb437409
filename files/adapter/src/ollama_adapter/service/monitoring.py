"""`/metrics`: the sums over all processes of this port, and the health of the upstreams at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import __version__
from ..http.exchange import Exchange
from ..upstream.client import Upstream
from ..upstream.fetching import Fetched, fetch
from .metrics import (
    CONNECTIONS,
    IN_FLIGHT,
    INFO,
    OPENMETRICS,
    PLAIN,
    UPSTREAM_CALLS,
    UPSTREAM_UP,
    Metrics,
    wants_openmetrics,
)
from .peers import Peers

_HEALTH_TIMEOUT_S = 2.0


class Monitoring:
    """Answers `/metrics`."""

    def __init__(
        self,
        metrics: Metrics,
        upstreams: Iterable[tuple[Upstream, bytes]],
        peers: Peers,
        counts: Callable[[], tuple[int, int]],
    ) -> None:
        """
        :param upstreams: each with the path that says whether it is healthy.
        :param counts: connections of clients, and requests that are being answered.
        """
        self._metrics = metrics
        self._upstreams = list(upstreams)
        self._peers = peers
        self._counts = counts

    def answer(self, exchange: Exchange) -> None:
        """Answer once the other processes and the upstreams have, or are out of time."""
        total = Metrics()
        waiting = len(self._upstreams) + 1

        def one_more() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                openmetrics = wants_openmetrics(exchange.head.header(b"accept"))
                total.set(INFO, 1, __version__)
                exchange.respond(200, total.text(openmetrics=openmetrics), OPENMETRICS if openmetrics else PLAIN)

        def peers_said(states: list[dict[str, dict[str, object]]]) -> None:
            for state in [self.state(), *(state["metrics"] for state in states)]:
                total.include(state)
            one_more()

        def check(upstream: Upstream, path: bytes) -> None:
            def checked(answer: Fetched) -> None:
                total.set(UPSTREAM_UP, float(answer.is_ok), upstream.name, upstream.url)
                one_more()

            fetch(upstream, b"GET", path, checked, _HEALTH_TIMEOUT_S)

        self._peers.ask(peers_said)
        for upstream, path in self._upstreams:
            check(upstream, path)

    def state(self) -> dict[str, object]:
        """This process's values."""
        connections, busy = self._counts()
        self._metrics.set(CONNECTIONS, connections)
        self._metrics.set(IN_FLIGHT, busy)
        for upstream, _ in self._upstreams:
            self._metrics.set(UPSTREAM_CALLS, upstream.active_calls, upstream.name, upstream.url)
        return self._metrics.state()
