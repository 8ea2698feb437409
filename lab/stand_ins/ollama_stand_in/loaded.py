"""Which models are in memory, and until when: keep_alive and the list that `ps` shows."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .settings import UTC
from .store import Model

# Ollama's "forever" is the largest duration Go can express.
FOREVER = timedelta(microseconds=(2**63 - 1) // 1000)
UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class DurationError(ValueError):
    """A keep_alive that Ollama refuses, in its own words."""


def parse_duration(value: object) -> timedelta:
    """A keep_alive as the API takes it: seconds as a number, or a Go duration; negative means forever."""
    if isinstance(value, bool):
        raise DurationError("Unsupported type: 'bool'")
    if isinstance(value, int | float):
        return FOREVER if value < 0 else timedelta(seconds=value)
    if not isinstance(value, str):
        raise DurationError(f"Unsupported type: '{type(value).__name__}'")
    return _go_duration(value)


def from_environment(text: str) -> timedelta:
    """OLLAMA_KEEP_ALIVE: a Go duration or whole seconds; what cannot be read means five minutes, as in Ollama."""
    try:
        return parse_duration(int(text)) if re.fullmatch(r"-?\d+", text) else _go_duration(text)
    except DurationError:
        return timedelta(minutes=5)


def _go_duration(text: str) -> timedelta:
    sign, rest = (text[0], text[1:]) if text[:1] in ("-", "+") else ("", text)
    if rest == "0":
        return timedelta(0)
    if not rest or not re.match(r"[\d.]", rest):
        raise DurationError(f'time: invalid duration "{text}"')
    seconds = 0.0
    while rest:
        match = re.match(r"(\d+\.?\d*|\.\d+)([^\d.]*)", rest)
        if match is None:
            raise DurationError(f'time: invalid duration "{text}"')
        number, unit = match.groups()
        if not unit:
            raise DurationError(f'time: missing unit in duration "{text}"')
        if unit not in UNITS_S:
            raise DurationError(f'time: unknown unit "{unit}" in duration "{text}"')
        seconds += float(number) * UNITS_S[unit]
        rest = rest[match.end() :]
    return FOREVER if sign == "-" else timedelta(seconds=seconds)


@dataclass
class Loaded:
    """A model in memory."""

    model: Model
    context_length: int
    expires: datetime


class Memory:
    """The models in memory; several requests use it at once."""

    def __init__(self, limit: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._limit = limit
        self._now = now
        self._lock = threading.Lock()
        self._models: dict[str, Loaded] = {}

    def use(self, model: Model, context_length: int, keep_alive: timedelta) -> bool:
        """Load the model or renew its stay; a stay of zero ends at once. Was it new?"""
        with self._lock:
            self._expire()
            is_new = model.digest not in self._models
            expires = self._now() + keep_alive
            self._models[model.digest] = Loaded(model, context_length, expires)
            if keep_alive <= timedelta(0):
                del self._models[model.digest]
            elif len(self._models) > self._limit:
                # The one that would go first makes room.
                others = [key for key in self._models if key != model.digest]
                del self._models[min(others, key=lambda key: self._models[key].expires)]
            return is_new

    def unload(self, model: Model) -> None:
        """Drop the model if it is there."""
        with self._lock:
            self._models.pop(model.digest, None)

    def list(self) -> list[Loaded]:
        """What is loaded now, latest expiry first."""
        with self._lock:
            self._expire()
            return sorted(self._models.values(), key=lambda one: one.expires, reverse=True)

    def _expire(self) -> None:
        now = self._now()
        self._models = {key: one for key, one in self._models.items() if one.expires > now}
