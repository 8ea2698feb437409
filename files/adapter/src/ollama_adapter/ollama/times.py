"""Times and durations as Ollama writes and reads them (ollama-api 1.4 and 3.2)."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timezone

FOREVER_S = math.inf

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_NUMBER = re.compile(r"[0-9]*(?:\.[0-9]*)?")
_UNIT = re.compile(r"[^0-9.]+")
_LONGEST_S = (2**63 - 1) / 10**9
_FOREVER_YEARS_S = 292 * 365.25 * 86400  # Ollama's "forever" is the longest Go duration: about 292 years


class DurationError(ValueError):
    """The text is what Go's time.ParseDuration says about it."""


class Stamps:
    """`created_at` stamps: RFC 3339 with nanoseconds, trailing zeros trimmed, in UTC.

    The part up to the second is kept between calls: `datetime` costs more than decoding a chunk (1.4 against 0.4 us).
    """

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""

    def now(self) -> bytes:
        """The stamp of this moment, for instance `2026-11-23T11:55:57.30614Z`."""
        return self.of(time.time_ns())

    def of(self, epoch_ns: int) -> bytes:
        """The stamp of a moment given in nanoseconds since 1970."""
        second, fraction = divmod(epoch_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        if not fraction:
            return self._prefix + b"Z"
        return b"%b.%bZ" % (self._prefix, (b"%09d" % fraction).rstrip(b"0"))


def local_stamp(epoch_s: float) -> str:
    """`modified_at` and `expires_at`: six fractional digits and an explicit offset, which every client can read."""
    return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat(timespec="microseconds")


def epoch_of(stamp: str) -> float:
    """Seconds since 1970 of an RFC 3339 stamp, 0 for one that cannot be read. For sorting only."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp)
    if match is None:
        return 0.0
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    except ValueError:
        return 0.0
    return moment.timestamp() + float(fraction or 0)


def parse_duration(text: str) -> float:
    """Read a Go duration such as `1h30m`, `300ms`, `-1m` or `0`.

    :return: seconds, negative where the text is.
    :raises DurationError: with Go's own wording: `time: missing unit in duration "300"`.
    """
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    rest = text[1:] if text[:1] in ("-", "+") else text
    sign = -1 if text[:1] == "-" else 1
    if rest == "0":
        return 0.0
    if not rest:
        raise DurationError(f"time: invalid duration {quoted}")
    total_ns = 0.0
    while rest:
        number = _NUMBER.match(rest)
        digits = number.group() if number else ""
        if digits in ("", "."):
            raise DurationError(f"time: invalid duration {quoted}")
        rest = rest[len(digits) :]
        unit = _UNIT.match(rest)
        if unit is None:
            raise DurationError(f"time: missing unit in duration {quoted}")
        name = unit.group()
        if name not in _UNITS_NS:
            raise DurationError(f'time: unknown unit "{name}" in duration {quoted}')
        rest = rest[len(name) :]
        total_ns += float(digits) * _UNITS_NS[name]
    seconds = sign * total_ns / 10**9
    if abs(seconds) > _LONGEST_S:
        raise DurationError(f"time: invalid duration {quoted}")
    return seconds


def expiry(now_s: float, keep_alive_s: float) -> float:
    """When a model used now leaves memory; a date centuries ahead for "forever"."""
    return now_s + min(keep_alive_s, _FOREVER_YEARS_S)
