"""Server-sent events: bytes in, payloads out."""

from __future__ import annotations

import re

_END = re.compile(rb"\n\r?\n")


class SseDecoder:
    """Whole `data:` payloads out of a stream that the network may cut anywhere.

    An event that is not complete waits for the next call. Comments (keep-alives) and other fields are dropped; lines
    may end in LF or CR LF. JSON never contains a raw line break, so a payload is one line; several `data:` lines are
    joined as the standard says.
    """

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        """:param max_event_bytes: an event that grows larger is an error; nothing vLLM sends comes near."""
        self._rest: list[bytes] = []  # pieces of an event that is not complete
        self._rest_bytes = 0
        self._last = b""  # the last bytes of it: half of its end may be among them
        self._max_event_bytes = max_event_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that these bytes complete.

        :raises ValueError: an event is larger than the limit.
        """
        if self._rest:
            # Joined only when the end is there: to join at every piece would cost the square of the event's size.
            seam = self._last + data
            if _END.search(seam) is None:
                self._keep(data, seam[-2:])
                return []
            data = b"".join((*self._rest, data))
            self._rest.clear()
            self._rest_bytes = 0
        if b"\r" in data:
            *events, rest = _END.split(data)
            events = [event.removesuffix(b"\r").replace(b"\r\n", b"\n") for event in events]
        else:
            *events, rest = data.split(b"\n\n")
        if rest:
            self._keep(rest, rest[-2:])
        payloads = []
        for event in events:
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            else:
                payloads.extend(_payload_of(event))
        return payloads

    def _keep(self, piece: bytes, last: bytes) -> None:
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        self._last = last
        if self._rest_bytes > self._max_event_bytes:
            raise ValueError(f"an event of more than {self._max_event_bytes} bytes")


def _payload_of(event: bytes) -> list[bytes]:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return [b"\n".join(lines)] if lines else []
