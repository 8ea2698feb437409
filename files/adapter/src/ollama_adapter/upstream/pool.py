"""Several servers of one model: each request goes to the healthy one with the fewest requests on their way."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .client import Call, Limits, Sink, Upstream, new_call
from .fetching import Fetched, fetch

CHECK_EVERY_S = 2.0
_CHECK_TIMEOUT_S = 2.0


class Pool:
    """Spreads requests over servers.

    A server that cannot be reached, or whose `/health` is not 200, gets no requests until its `/health` is 200 again.
    A request that met one is sent to the next, as long as nothing of it was sent. Where no server is healthy, all are
    tried: a health check that is wrong must not take the model away.
    """

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = list(upstreams)
        self._ejected: set[Upstream] = set()
        self._next_check = 0.0
        if len(self.upstreams) > 1:
            for upstream in self.upstreams:
                upstream.take_over = self._take_over

    @property
    def active_calls(self) -> int:
        """Requests on their way, on all servers."""
        return sum(upstream.active_calls for upstream in self.upstreams)

    def is_healthy(self, upstream: Upstream) -> bool:
        """Whether a server gets requests."""
        return upstream not in self._ejected

    def send(
        self,
        method: bytes,
        target: bytes,
        sink: Sink,
        limits: Limits,
        *,
        headers: bytes = b"",
        body: bytes | None = b"",
    ) -> Call:
        """See `Sender`."""
        call = new_call(method, target, sink, limits, headers=headers, body=body)
        self._choose(self.upstreams).dispatch(call)
        return call

    def sweep(self, now: float) -> None:
        """Called once a second."""
        for upstream in self.upstreams:
            upstream.sweep(now)
        if len(self.upstreams) > 1 and now >= self._next_check:
            self._next_check = now + CHECK_EVERY_S
            for upstream in self.upstreams:
                self._check(upstream)

    def close(self) -> None:
        """End every connection."""
        for upstream in self.upstreams:
            upstream.close()

    def _choose(self, candidates: Sequence[Upstream]) -> Upstream:
        if len(candidates) == 1:
            return candidates[0]
        healthy = [upstream for upstream in candidates if upstream not in self._ejected] or candidates
        # Chance decides among equals. Taking turns would tie the tokenizing that follows each answer to one server and
        # the answers to the other.
        return min(healthy, key=lambda upstream: (upstream.active_calls, random.random()))

    def _take_over(self, upstream: Upstream, call: Call) -> bool:
        """A server cannot be reached: send the request to another one that it has not been sent to."""
        self._ejected.add(upstream)
        call.tried.append(upstream)
        left = [other for other in self.upstreams if other not in call.tried]
        if not left:
            return False
        self._choose(left).dispatch(call)
        return True

    def _check(self, upstream: Upstream) -> None:
        def checked(answer: Fetched) -> None:
            if answer.is_ok:
                self._ejected.discard(upstream)
            else:
                self._ejected.add(upstream)

        fetch(upstream, b"GET", b"/health", checked, _CHECK_TIMEOUT_S)
