"""Figures from samples: quantiles, ratios, spreads. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank).

    :raises ValueError: no values, or a share that is not in 0..1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a quantile needs values, and a share from 0 to 1")
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest of its values."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """Median, lowest and highest; None of nothing."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def paired_ratios(above: Mapping[int, float], below: Mapping[int, float]) -> list[float]:
    """`above` divided by `below`, round by round, where both have the round and both are positive.

    A latency that is added can come out below zero where it is smaller than the noise; then there is no ratio.
    """
    return [above[number] / below[number] for number in sorted(above) if above[number] > 0 and below.get(number, 0) > 0]


def paired_differences(of: Mapping[int, float], minus: Mapping[int, float]) -> dict[int, float]:
    """`of` less `minus`, by round, where both have the round."""
    return {number: of[number] - minus[number] for number in sorted(of) if number in minus}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line of least squares through (x, y) points; 0 where x does not vary."""
    if len(points) < 2:
        return 0.0
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


def digits(value: float) -> str:
    """A number with three significant digits, as people write it: 0.0123, 1.23, 12.3, 123, 12300."""
    if value == 0:
        return "0"
    places = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:.{places}f}"
    return text if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"
