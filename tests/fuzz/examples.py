"""What the property-based tests share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def every(examples: int = 200) -> settings:
    """The same examples on every run, and as long as they take."""
    quiet = list(HealthCheck)
    return settings(derandomize=True, database=None, max_examples=examples, deadline=None, suppress_health_check=quiet)


cuts = st.lists(st.integers(0, 400), max_size=8)


def pieces(data: bytes, at: Sequence[int]) -> list[bytes]:
    """The same bytes, cut at these places."""
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(places)]
