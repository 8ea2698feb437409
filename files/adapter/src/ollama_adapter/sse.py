"""Server-sent events: bytes in, payloads out."""

from __future__ import annotations


class SseDecoder:
    """Whole `data:` payloads out of a stream that the network may cut anywhere.

    An event that is not complete waits for the next call. Comments (keep-alives) and other fields are dropped; lines
    may end in LF or CR LF. JSON never contains a raw line break, so a payload is one line; several `data:` lines are
    joined as the standard says.
    """

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        """:param max_event_bytes: an event that grows larger is an error; nothing vLLM sends comes near."""
        self._rest = b""
        self._max_event_bytes = max_event_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that these bytes complete.

        :raises ValueError: an event is larger than the limit.
        """
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            # A CR at the very end may be the first half of a line end.
            held = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n") + held
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > self._max_event_bytes:
            raise ValueError(f"an event of more than {self._max_event_bytes} bytes")
        payloads = []
        for event in events:
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            else:
                payloads.extend(_payload_of(event))
        return payloads


def _payload_of(event: bytes) -> list[bytes]:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return [b"\n".join(lines)] if lines else []
