"""The results as a picture: small bar charts on logarithmic scales, written as plain SVG. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.figures import digits
from bench.summary import ADAPTER, DIRECT, TITLES, Row, rows

# The rows of the picture, two beside each other.
CHARTS = (
    "short.cpu_us", "paced.cpu_us",
    "short-stream.cpu_us", "burst.cpu_us",
    "joining-128.p50_ms", "first-128.p50_ms",
    "short.per_s", "idle.memory_per_1000_streams_mib",
)  # fmt: skip
_WIDTH, _BAR, _GAP, _LABEL, _VALUE = 460, 18, 6, 120, 80
_MARGIN, _HEAD = 16, 34
_COLOURS = {ADAPTER: "#0b6e4f"}
_OTHER = "#9aa5b1"


def svg(results: Mapping[str, Any]) -> str:
    """The picture."""
    found = {row.metric.key: row for row in rows(results["samples"])}
    charts = [found[key] for key in CHARTS if key in found]
    height_of_chart = _HEAD + len(TITLES) * (_BAR + _GAP) + _MARGIN
    height = _MARGIN + 22 + math.ceil(len(charts) / 2) * height_of_chart
    machine = results["machine"]
    note = f"{results['date'][:10]}, {machine['cpu']}, {machine['cores']} cores; bars on logarithmic scales"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#1f2933">',
        f'<rect width="{2 * _WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 6}" font-size="11" fill="#52606d">{escape(note)}</text>',
    ]
    for number, row in enumerate(charts):
        x, y = number % 2 * _WIDTH + _MARGIN, _MARGIN + 22 + number // 2 * height_of_chart
        parts += _chart(row, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def lengths(values: Sequence[float], longest: float) -> list[float]:
    """Lengths of bars on a logarithmic scale that begins below the smallest positive value; 0 for the others."""
    positive = [value for value in values if value > 0]
    if not positive:
        return [0.0 for _ in values]
    low, high = math.log10(min(positive)) - 0.3, math.log10(max(positive))
    return [max(longest * (math.log10(value) - low) / (high - low), 0.0) if value > 0 else 0.0 for value in values]


def _chart(row: Row, x: int, y: int) -> list[str]:
    shown = [target for target in TITLES if target in row.spreads and not (row.metric.is_added and target == DIRECT)]
    medians = [row.spreads[target].median for target in shown]
    parts = [f'<text x="{x}" y="{y + 16}" font-weight="600">{escape(row.metric.title)}, {row.metric.unit}</text>']
    bars = lengths(medians, _WIDTH - 2 * _MARGIN - _LABEL - _VALUE)
    for number, (target, value, length) in enumerate(zip(shown, medians, bars, strict=True)):
        top = y + _HEAD - 6 + number * (_BAR + _GAP)
        base = top + _BAR - 5
        weight = ' font-weight="600"' if target == ADAPTER else ""
        colour = _COLOURS.get(target, _OTHER)
        parts += [
            f'<text x="{x + _LABEL - 8}" y="{base}" text-anchor="end"{weight}>{escape(TITLES[target])}</text>',
            f'<rect x="{x + _LABEL}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{x + _LABEL + length + 6:.1f}" y="{base}"{weight}>{digits(value)}</text>',
        ]
    return parts
