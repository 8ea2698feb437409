"""The results as one SVG: lines over concurrency. Written by hand, readable on dark and light. No I/O.

Targets differ in colour, in the shape of their points and in their names at the top, so that the picture can be read in grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.figures import digits
from bench.host.tables import caption

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 268, 60, 16, 52, 46
_HEAD, _LEGEND_LINE = 62, 20
COLOURS = ("#0b8f63", "#d9822b", "#3b82c4", "#a855a8", "#8a8f98")
_STYLE = (
    ".bg{fill:#fff}.t{fill:#1f2933}.s{fill:#52606d}.g{stroke:#d5dae0}"
    "@media(prefers-color-scheme:dark){.bg{fill:#14181d}.t{fill:#e6e9ed}.s{fill:#a3adb8}.g{stroke:#38414b}}"
)
Points = list[tuple[int, float]]
# title, workload, streamed, column, unit
_CHARTS = (
    ("time to first text", "mix", True, "ttft_ms_p50", "ms"),
    ("time between two tokens", "mix", True, "itl_ms_p50", "ms"),
    ("the guide's five prompts, end to end", "guide", False, "e2e_ms_p50", "ms"),
    ("tokens a second, all requests together", "mix", True, "tokens_per_s", "tokens/s"),
    ("first text, prompts with a new beginning", "prefix-cold", True, "ttft_ms_p50", "ms"),
    ("first text, prompts with a repeated beginning", "prefix-repeated", True, "ttft_ms_p50", "ms"),
)
_ROLES = {"adapter": "port 11434 in Phase 2", "phase1": "port 11434 in Phase 1", "vllm": "vLLM itself"}


def svg(results: Mapping[str, Any]) -> str:
    """The picture. Charts of which there are no values are left out."""
    targets = list(results["targets"])
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(targets)}
    charts = [(chart, lines) for chart in _CHARTS if (lines := series(results["rows"], *chart[1:4]))]
    head = _HEAD + _LEGEND_LINE * len(targets)
    height = head + math.ceil(len(charts) / 2) * _HEIGHT
    machine = results["machine"]
    title = caption(results, "What the servers give their clients")
    about = (
        f"{results['date'][:10]}, commit {results['commit']}, asked from {machine['cpu']}, {machine['cores']} cores; "
        f"{results['plan']['requests']} requests for each point"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {height}" font-family="system-ui, sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title><style>{_STYLE}</style>',
        f'<rect class="bg" width="{2 * _WIDTH}" height="{height}"/>',
        f'<text class="t" x="16" y="24" font-size="16" font-weight="600">{escape(title)}</text>',
        f'<text class="s" x="16" y="44">{escape(about)}</text>',
    ]
    for number, name in enumerate(targets):
        y = _HEAD + 6 + _LEGEND_LINE * number
        role = _ROLES.get(name.partition(" ")[0])  # an earlier run's target has more than a name
        said = name + f", {role}" * (role is not None) + f", model {results['targets'][name]['identity']['name']}"
        parts.append(_point(number, 22, y - 4, colours[name], name))
        parts.append(f'<text class="t" x="36" y="{y}">{escape(said)}</text>')
    tops = {chart[0]: _top(lines) for chart, lines in charts}
    pair = _CHARTS[4][0], _CHARTS[5][0]
    if all(name in tops for name in pair):  # these two are to be compared
        tops |= dict.fromkeys(pair, max(tops[name] for name in pair))
    for number, (chart, lines) in enumerate(charts):
        place = number % 2 * _WIDTH, head + number // 2 * _HEIGHT
        how = "ms at p50, less is better" if chart[4] == "ms" else f"{chart[4]}, more is better"
        parts += _chart(
            (chart[0], f"workload {chart[1]}, {'streamed' if chart[2] else 'whole'}; {how}"),
            lines,
            colours,
            tops[chart[0]],
            *place,
        )
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
    words: tuple[str, str], lines: Mapping[str, Points], colours: Mapping[str, str], top: float, left: int, above: int
) -> list[str]:
    counts = sorted({count for points in lines.values() for count, _ in points})
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = width / max(len(counts), 1)
    at = {count: left + _LEFT + step * (place + 0.5) for place, count in enumerate(counts)}
    base = above + _TOP + height
    parts = [
        f'<text class="t" x="{left + 16}" y="{above + 18}" font-weight="600">{escape(words[0])}</text>',
        f'<text class="s" x="{left + 16}" y="{above + 34}" font-size="11">{escape(words[1])}</text>',
    ]
    for quarter in range(5):
        y = base - height * quarter / 4
        parts.append(f'<line class="g" x1="{left + _LEFT}" y1="{y:.1f}" x2="{left + _LEFT + width}" y2="{y:.1f}"/>')
        label = digits(top * quarter / 4)
        parts.append(f'<text class="s" x="{left + _LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for count, x in at.items():
        parts.append(f'<text class="s" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{count}</text>')
    parts.append(
        f'<text class="s" x="{left + _LEFT + width / 2}" y="{base + 32}" text-anchor="middle">requests at once</text>'
    )
    for name, points in lines.items():
        colour = colours[name]
        places = [(at[count], base - height * value / top) for count, value in points]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), (count, value) in zip(places, points, strict=True):
            hint = f"{name}, {count} at once: {digits(value)}"
            parts.append(_point(list(colours).index(name), x, y, colour, hint))
    return parts


def _point(number: int, x: float, y: float, colour: str, hint: str) -> str:
    """A target's mark: circle, square, diamond, triangle, and over again."""
    shape = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"',
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"',
        f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"',
        f'<path d="M{x:.1f} {y - 6:.1f}l6 10h-12z"',
    )[number % 4]
    return f'{shape} fill="{colour}"><title>{escape(hint)}</title></{shape[1:].split()[0]}>'
