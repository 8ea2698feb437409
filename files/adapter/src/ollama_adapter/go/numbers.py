"""Lists of numbers as Go's encoding/json writes them: the shortest decimal that reads back as the same number.

For a float32 that is shorter than what its value as a double has: Ollama's `/api/embed` writes -0.04149579 where
`/api/embeddings`, whose vectors are float64, writes -0.04149579256772995 (recorded, Ollama 0.32.15).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from decimal import Decimal

import msgspec

_MOST_DIGITS = 9  # tell every float32 apart
# Places after the point to try, fewest first. A float32 below 1 that some decimal with fewer than 7 places stands for
# is nearer to it than half of the 7th place, so rounding to 7 finds that decimal too.
_PLACES = range(7, 13)
_encode = msgspec.json.Encoder().encode
_EXPONENT = re.compile(rb"[^,\[\]]+e-?[0-9]+")


def float32_list(values: array[float]) -> bytes:
    """A JSON array of float32.

    :param values: finite numbers, in an array of type `f`.
    """
    return float64_list(_shortest(values))


def float64_list(values: Sequence[float]) -> bytes:
    """A JSON array of float64, which are finite."""
    text = _encode(values)
    # msgspec writes `1.0` for 1, and an exponent where Go, between 1e-6 and 1e21, writes none.
    if b"e" in text:
        text = _EXPONENT.sub(_as_go, text)
    return text.replace(b".0,", b",").replace(b".0]", b"]")


def _shortest(values: array[float]) -> list[float]:
    """For each float32 the double whose shortest decimal is the shortest decimal of the float32.

    Place by place for all numbers at once: this is the costly part of an answer with embeddings, and it is twice as
    fast as formatting each number with more and more digits (measured, 0.7 us per number).
    """
    found = values.tolist()
    left = [place for place, value in enumerate(found) if -1.0 < value < 1.0]
    unusual = [place for place, value in enumerate(found) if not -1.0 < value < 1.0]
    for places in _PLACES:
        scale = 10.0**places
        wanted = [values[place] for place in left]
        candidates = [round(value * scale) / scale for value in wanted]
        rounded = array("f", candidates)
        still = []
        for place, value, candidate, back in zip(left, wanted, candidates, rounded):  # noqa: B905
            if back == value and (candidate or not value):
                found[place] = candidate or value  # keeps the sign of zero
            else:
                still.append(place)
        left = still
        if not left:
            break
    for place in (*left, *unusual):
        found[place] = _shortest_of(values[place])
    return found


def _shortest_of(value: float) -> float:
    for digits in range(1, _MOST_DIGITS):
        candidate = float(f"{value:.{digits}g}")
        if array("f", (candidate,))[0] == value:
            return candidate
    return float(f"{value:.{_MOST_DIGITS}g}")


def _as_go(match: re.Match[bytes]) -> bytes:
    text = match.group().decode()
    if 1e-6 <= abs(float(text)) < 1e21:
        return format(Decimal(text), "f").encode()
    return text.encode() if "e-" in text else text.replace("e", "e+").encode()
