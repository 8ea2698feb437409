"""Panels as HTML and SVG. In: the panel's JSON, its series, its size in pixels. Out: what stands below its title."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .asking import Line, Span
from .values import COLOURS, colour_of, line_colours, mapped, written

RIGHT, BOTTOM, TOP = 10, 20, 6
LETTER = 6.4  # pixels of a letter in the legend
AXIS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
Panel = Mapping[str, Any]


def body(panel: Panel, lines: Sequence[Line], span: Span, step: float, width: float, height: float) -> tuple[str, str]:
    """(HTML, colour of the whole panel or "")."""
    kind, defaults = panel["type"], panel["fieldConfig"]["defaults"]
    if kind == "table":
        return table(panel, lines), ""
    if not any(line.points for line in lines):
        return f'<div class="none">{escape(defaults.get("noValue", "No data"))}</div>', ""
    if kind == "stat":
        return stat(panel, lines[0], span, width, height)
    if kind == "gauge":
        return gauge(panel, lines[0], width, height), ""
    return timeseries(panel, [line for line in lines if line.points], span, step, width, height), ""


def stat(panel: Panel, line: Line, span: Span, width: float, height: float) -> tuple[str, str]:
    defaults, options = panel["fieldConfig"]["defaults"], panel["options"]
    value = line.last or 0.0
    said = mapped(value, defaults["mappings"])
    text = said[0] if said else written(value, defaults["unit"], defaults.get("decimals"))
    colour = said[1] if said else colour_of(value, defaults["thresholds"]["steps"])
    filled = options["colorMode"] == "background"
    size = min(height * 0.52, (width - 24) / (0.56 * max(len(text), 1)), 44)
    spark = ""
    if options["graphMode"] == "area" and not filled and len(line.points) > 1:
        low, high = 0.0, max(number for _, number in line.points) or 1.0
        places = [
            (_x(at, span, width, 0, 0), height - (number - low) / (high - low) * height * 0.42)
            for at, number in line.points
        ]
        path = _path(places)
        spark = (
            f'<path d="{path} L{places[-1][0]:.1f},{height:.1f} L{places[0][0]:.1f},{height:.1f} Z" '
            f'fill="{colour}" fill-opacity="0.16"/><path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    middle = height * (0.5 if filled or not spark else 0.42)
    svg = (
        f'<svg width="{width:.0f}" height="{height:.0f}">{spark}<text x="{width / 2:.1f}" y="{middle:.1f}" class="big" '
        f'font-size="{size:.1f}" fill="{"#fff" if filled else colour}">{escape(text)}</text></svg>'
    )
    return svg, colour if filled else ""


def gauge(panel: Panel, line: Line, width: float, height: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    value = line.last or 0.0
    share = min(max(value / (defaults.get("max") or 1), 0), 1)
    colour = colour_of(value, defaults["thresholds"]["steps"])
    radius = min(width / 2 - 16, (height - 20) / 1.5)  # 240 degrees: as high above the middle as wide, half of it below
    x, y = width / 2, radius + 6

    def arc(to: float, shade: str) -> str:
        turn = math.radians(240)
        start, end = math.radians(210), math.radians(210) - turn * to
        places = [
            (x + radius * math.cos(start), y - radius * math.sin(start)),
            (x + radius * math.cos(end), y - radius * math.sin(end)),
        ]
        wide = 1 if turn * to > math.pi else 0
        return (
            f'<path d="M{places[0][0]:.1f},{places[0][1]:.1f} A{radius:.1f},{radius:.1f} 0 {wide} 1 '
            f'{places[1][0]:.1f},{places[1][1]:.1f}" fill="none" stroke="{shade}" stroke-width="12"/>'
        )

    text = written(value, defaults["unit"], defaults.get("decimals"))
    return (
        f'<svg width="{width:.0f}" height="{height:.0f}">{arc(1, "#2c3235")}{arc(share, colour) if share else ""}'
        f'<text x="{x:.1f}" y="{y:.1f}" class="big" font-size="{min(26, radius * 0.5):.0f}" '
        f'fill="{colour}">{escape(text)}</text></svg>'
    )


def timeseries(panel: Panel, lines: Sequence[Line], span: Span, step: float, width: float, height: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults["custom"], defaults["unit"]
    colours = line_colours([line.name for line in lines], panel["fieldConfig"]["overrides"])
    letters = sum(len(line.name) + len(written(line.last or 0, unit)) + 12 for line in lines)
    legend = 20 * min(2, math.ceil(letters * LETTER / width))
    height -= legend
    stacked = custom["stacking"]["mode"] == "normal"
    shapes = _stacked(lines) if stacked else [([(at, 0.0) for at, _ in line.points], line.points) for line in lines]
    most = max(number for _, upper in shapes for _, number in upper)
    ticks = axis(defaults.get("max") or most, 1024 if unit == "bytes" else 1000, max(2, int(height / 45)))
    top = defaults.get("max") or max(ticks[-1], most) or 1.0
    left = 16 + max(len(written(tick, unit)) for tick in ticks) * LETTER

    def place(point: tuple[float, float]) -> tuple[float, float]:
        at, number = point
        share = min(max(number / top, 0), 1)
        return _x(at, span, width, left, RIGHT), height - BOTTOM - share * (height - BOTTOM - TOP)

    parts = []
    for tick in ticks:
        y = place((span.start, tick))[1]
        parts.append(
            f'<line x1="{left:.0f}" x2="{width - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" class="axis" text-anchor="end">{escape(written(tick, unit))}</text>'
        )
    for at in moments(span, width - left - RIGHT):
        x = _x(at, span, width, left, RIGHT)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM:.1f}" class="grid"/>'
            f'<text x="{min(x, width - 17):.1f}" y="{height - 5:.1f}" class="axis" text-anchor="middle">'
            f"{time.strftime('%H:%M', time.localtime(at))}</text>"
        )
    for (lower, upper), colour in reversed(list(zip(shapes, colours, strict=True))):
        for low, high in zip(_pieces(lower, step), _pieces(upper, step), strict=True):
            edge, ground = [place(point) for point in high], [place(point) for point in reversed(low)]
            parts.append(
                f'<path d="{_path(edge + ground)} Z" fill="{colour}" fill-opacity="{custom["fillOpacity"] / 100}"/>'
                f'<path d="{_path(edge)}" fill="none" stroke="{colour}" stroke-width="{custom["lineWidth"]}" '
                'stroke-linejoin="round" stroke-linecap="round"/>'
            )
    if custom["thresholdsStyle"]["mode"] == "dashed":
        for limit in defaults["thresholds"]["steps"]:
            if limit["value"] is not None and limit["value"] <= top:
                y = place((span.start, limit["value"]))[1]
                parts.append(
                    f'<line x1="{left:.0f}" x2="{width - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}" '
                    f'stroke="{COLOURS.get(limit["color"], limit["color"])}" stroke-dasharray="8 6" stroke-width="1.5"/>'
                )
    names = "".join(
        f'<span><i style="background:{colour}"></i>{escape(line.name)}<b>{escape(written(line.last or 0, unit))}</b></span>'
        for line, colour in zip(lines, colours, strict=True)
    )
    return (
        f'<svg width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'
        f'<div class="legend" style="height:{legend}px">{names}</div>'
    )


def table(panel: Panel, lines: Sequence[Line]) -> str:
    """The columns that the panel's transformations leave, in their order and with their headings."""
    options = {one["id"]: one["options"] for one in panel.get("transformations", [])}
    names = options["filterFieldsByName"]["include"]["names"]
    order, headings = options["organize"]["indexByName"], options["organize"]["renameByName"]
    rows = [{**line.labels, "Value": f"{line.last or 0:g}"} for line in lines]
    shown = sorted((name for name in names if any(name in row for row in rows)), key=order.__getitem__)
    if not rows:
        return f'<div class="none">{escape(panel["fieldConfig"]["defaults"].get("noValue", "No data"))}</div>'
    head = "".join(f"<th>{escape(headings[name])}</th>" for name in shown)
    lines_of = "".join(
        "<tr>" + "".join(f"<td>{escape(row.get(name, ''))}</td>" for name in shown) + "</tr>" for row in rows
    )
    return f"<div class=table><table><tr>{head}</tr>{lines_of}</table></div>"


def axis(most: float, base: int, count: int) -> list[float]:
    """Round numbers from 0 to at least `most`, about `count` steps."""
    if most <= 0:
        return [0.0, 1.0]
    scale = float(base ** int(math.log(most, base))) if base == 1024 and most >= 1 else 1.0
    rough = most / scale / count
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999) * power * scale
    steps = math.ceil(most / size * 0.999)
    return [size * number for number in range(steps + 1)]


def moments(span: Span, width: float) -> list[float]:
    """Round times of the day within the span, at least 70 pixels apart."""
    least = (span.end - span.start) * 70 / max(width, 1)
    size = next((one for one in AXIS_S if one >= least), AXIS_S[-1])
    first = math.ceil(span.start / size) * size
    return [first + size * number for number in range(int((span.end - first) / size) + 1)]


def _stacked(lines: Sequence[Line]) -> list[tuple[list[tuple[float, float]], list[tuple[float, float]]]]:
    """Each line on top of those before it: its lower and its upper edge."""
    ground: dict[float, float] = {}
    shapes = []
    for line in lines:
        lower = [(at, ground.get(at, 0.0)) for at, _ in line.points]
        upper = [(at, low + number) for (at, low), (_, number) in zip(lower, line.points, strict=True)]
        ground |= dict(upper)
        shapes.append((lower, upper))
    return shapes


def _pieces(points: Sequence[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """Where a sample is missing, the line has a gap."""
    pieces: list[list[tuple[float, float]]] = []
    for number, point in enumerate(points):
        if not number or point[0] - points[number - 1][0] > 1.5 * step:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def _x(at: float, span: Span, width: float, left: float, right: float) -> float:
    return left + (at - span.start) / (span.end - span.start) * (width - left - right)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in places)
