"""Small requests of the adapter itself, whose answer is wanted whole: health, lists of models, tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .client import Call, Failure, Limits, Sender

_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Fetched:
    """What came back. Status 0 with a reason where nothing did."""

    status: int
    body: bytes = b""
    reason: str = ""
    is_unreachable: bool = False

    @property
    def is_ok(self) -> bool:
        """Status 200."""
        return self.status == 200


class Fetch:
    """Collects an answer and hands it over; never raises, always answers once."""

    def __init__(self, done: Callable[[Fetched], None]) -> None:
        self._done = done
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head has come."""
        self._status = status

    def piece(self, data: bytes) -> None:
        """Keep it, unless it is far too much."""
        self._size += len(data)
        if self._size <= _MAX_BYTES:
            self._pieces.append(data)

    def ended(self) -> None:
        """Hand it over."""
        if self._size > _MAX_BYTES:
            self._done(Fetched(0, reason="the answer is too large"))
        else:
            self._done(Fetched(self._status, b"".join(self._pieces)))

    def failed(self, failure: Failure) -> None:
        """Hand over the reason."""
        self._done(Fetched(0, reason=failure.reason, is_unreachable=failure.is_unreachable))

    def writable(self, is_writable: bool) -> None:
        """The requests are small."""


def fetch(
    upstream: Sender,
    method: bytes,
    target: bytes,
    done: Callable[[Fetched], None],
    timeout_s: float,
    *,
    body: bytes = b"",
    headers: bytes = b"",
) -> Call:
    """Send a request and call `done` with its answer, or with the reason why there is none."""
    if body:
        headers += b"Content-Type: application/json\r\n"
    return upstream.send(method, target, Fetch(done), Limits(timeout_s, timeout_s), headers=headers, body=body)
