"""Stop strings beyond those that vLLM takes: found in the text as it comes. No network here."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOO_MANY = re.compile(r"'loc': 'body\.stop', 'msg': 'List should have at most ([0-9]+) items?")


class StopFinder:
    """Looks for stop strings in text that comes in pieces. Only what may become one is held back.

    Empty strings stop nothing, as in vLLM, which refuses them.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_found = False

    def feed(self, piece: str) -> str:
        """The text that can be shown now; nothing once a stop string was found."""
        if self.is_found:
            return ""
        text = self._held + piece
        found = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if found:
            self.is_found = True
            self._held = ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def most_stops(message: str) -> int | None:
    """How many stop strings vLLM takes (VLLM_MAX_STOP_STRINGS), from its refusal of more; None for other messages."""
    match = _TOO_MANY.search(message)
    return int(match.group(1)) if match else None


def _overlap(text: str, stop: str) -> int:
    """How much of the end of a text may be the beginning of a stop string."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
