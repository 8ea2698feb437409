"""The results as one SVG: lines over concurrency, and bars for the prefix. Written by hand, readable on dark and light. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.figures import digits
from bench.host.tables import caption

_WIDTH, _HEIGHT, _HEAD, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 250, 64, 56, 16, 34, 40
COLOURS = ("#0b8f63", "#d9822b", "#3b82c4", "#a855a8", "#8a8f98")
_STYLE = (
    ".bg{fill:#fff}.t{fill:#1f2933}.s{fill:#52606d}.g{stroke:#d5dae0}"
    "@media(prefers-color-scheme:dark){.bg{fill:#14181d}.t{fill:#e6e9ed}.s{fill:#a3adb8}.g{stroke:#38414b}}"
)
Points = list[tuple[int, float]]
# title, workload, streamed, column, unit
_CHARTS = (
    ("first text, p50", "mix", True, "ttft_ms_p50", "ms"),
    ("between two tokens, p50", "mix", True, "itl_ms_p50", "ms"),
    ("the five prompts, end to end, p50", "guide", False, "e2e_ms_p50", "ms"),
    ("tokens a second", "mix", True, "tokens_per_s", "/s"),
    ("first text, new beginning", "prefix-cold", True, "ttft_ms_p50", "ms"),
    ("first text, repeated beginning", "prefix-repeated", True, "ttft_ms_p50", "ms"),
)


def svg(results: Mapping[str, Any]) -> str:
    """The picture. Charts of which there are no values are left out."""
    targets = list(results["targets"])
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(targets)}
    charts = [(chart, lines) for chart in _CHARTS if (lines := series(results["rows"], *chart[1:4]))]
    height = _HEAD + math.ceil(len(charts) / 2) * _HEIGHT
    machine = results["machine"]
    title = caption(results, f"{results['date'][:10]}, asked from {machine['cpu']}, {machine['cores']} cores")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {height}" font-family="system-ui, sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title><style>{_STYLE}</style>',
        f'<rect class="bg" width="{2 * _WIDTH}" height="{height}"/>',
        f'<text class="s" x="16" y="22">{escape(title)}</text>',
    ]
    x = 16
    for name in targets:
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" rx="2" fill="{colours[name]}"/>')
        parts.append(f'<text class="t" x="{x + 18}" y="46">{escape(name)}</text>')
        x += 40 + 8 * len(name)
    tops = {chart[0]: _top(lines) for chart, lines in charts}
    pair = ("first text, new beginning", "first text, repeated beginning")
    if all(name in tops for name in pair):  # these two are to be compared
        tops |= dict.fromkeys(pair, max(tops[name] for name in pair))
    for number, (chart, lines) in enumerate(charts):
        place = number % 2 * _WIDTH, _HEAD + number // 2 * _HEIGHT
        parts += _chart(f"{chart[0]}, {chart[4]}", lines, colours, tops[chart[0]], *place)
    return "\n".join([*parts, "</svg>"]) + "\n"


def series(rows: Sequence[Mapping[str, Any]], workload: str, stream: bool, column: str) -> dict[str, Points]:
    """The points (concurrency, value) of each target that has some."""
    found: dict[str, Points] = {}
    for row in rows:
        if row["workload"] == workload and row["stream"] == stream and row[column] is not None:
            found.setdefault(row["target"], []).append((row["concurrency"], row[column]))
    return {name: sorted(points) for name, points in found.items()}


def round_up(value: float) -> float:
    """The end of an axis: the next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def _top(lines: Mapping[str, Points]) -> float:
    return round_up(max(value for points in lines.values() for _, value in points))


def _chart(
    title: str, lines: Mapping[str, Points], colours: Mapping[str, str], top: float, left: int, above: int
) -> list[str]:
    counts = sorted({count for points in lines.values() for count, _ in points})
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = width / max(len(counts), 1)
    at = {count: left + _LEFT + step * (place + 0.5) for place, count in enumerate(counts)}
    base = above + _TOP + height
    parts = [f'<text class="t" x="{left + 16}" y="{above + 18}" font-weight="600">{escape(title)}</text>']
    for quarter in range(5):
        y = base - height * quarter / 4
        parts.append(f'<line class="g" x1="{left + _LEFT}" y1="{y:.1f}" x2="{left + _LEFT + width}" y2="{y:.1f}"/>')
        label = digits(top * quarter / 4)
        parts.append(f'<text class="s" x="{left + _LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for count, x in at.items():
        parts.append(f'<text class="s" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{count}</text>')
    parts.append(
        f'<text class="s" x="{left + _LEFT + width}" y="{base + 32}" text-anchor="end">requests at once</text>'
    )
    for name, points in lines.items():
        colour = colours[name]
        places = [(at[count], base - height * value / top) for count, value in points]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), (count, value) in zip(places, points, strict=True):
            hint = escape(f"{name}, {count} at once: {digits(value)}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{hint}</title></circle>')
    return parts
