"""The parts of a dashboard in Grafana's own schema (dashboard JSON model, schemaVersion 41): panels, rows of them, a page.

A page is described by rows, each a height and its panels from left to right; where everything lies follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 41
COLUMNS = 24
WINDOW = "2m"  # of every rate: eight scrapes
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]
Step = tuple[float | None, str]  # from this value on (None: from below), this colour
Words = Mapping[int, tuple[str, str]]  # for a value, what is written, and its colour

GREEN, RED, ORANGE, BLUE, GREY = "green", "red", "orange", "blue", "text"
PLAIN: tuple[Step, ...] = ((None, GREEN),)
UP: Words = {1: ("yes", GREEN), 0: ("no", RED)}


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked, and the name of what comes back; `{{label}}` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel, without its place. width: in columns of 24; 0 shares what the others of its row leave."""

    content: Json
    width: int = 0


@dataclass(frozen=True)
class Row:
    """Panels side by side. title: of the headline above them, "" for none."""

    height: int
    panels: tuple[Panel, ...]
    title: str = ""


@dataclass(frozen=True)
class Page:
    """A dashboard. name: of its file; its uid is made of it."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]


def rate(metric: str, by: str = "") -> str:
    """A counter's increase a second, summed up; `by` some labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}[{WINDOW}]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """A quantile of a histogram's recent values. :param histogram: with `_bucket`."""
    return f"histogram_quantile({share}, {rate(histogram, f'le, {by}' if by else 'le')})"


def quantiles(histogram: str, shares: Sequence[float] = (0.5, 0.95)) -> list[Query]:
    return [Query(quantile(share, histogram), f"p{share * 100:g}") for share in shares]


def mean(histogram: str, selected: str = "") -> str:
    """What a histogram's recent values come to on average, exactly.

    :param histogram: without `_bucket`. selected: labels in braces.
    """
    return f"{rate(f'{histogram}_sum{selected}')} / ({rate(f'{histogram}_count{selected}')} > 0)"


def stat(
    title: str,
    description: str,
    expr: str,
    unit: str = "none",
    *,
    steps: Sequence[Step] = PLAIN,
    words: Words | None = None,
    decimals: int | None = None,
    none: str = "no data",
    filled: bool = False,
    width: int = 0,
) -> Panel:
    """One number, large. words: instead of numbers. filled: all of it has the colour. none: where there is no value."""
    options = {
        "colorMode": "background" if filled else "value",
        "graphMode": "none" if words else "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    }
    return _panel("stat", title, description, [Query(expr)], unit, options, steps, words, decimals, none, width=width)


def gauge(
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str = "percentunit",
    *,
    steps: Sequence[Step] = PLAIN,
    width: int = 0,
) -> Panel:
    """A value on its way to a limit: shares, 0 to 1."""
    options = {
        "minVizHeight": 75,
        "minVizWidth": 75,
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "sizing": "auto",
    }
    return _panel("gauge", title, description, queries, unit, options, steps, None, None, "no data", width=width, top=1)


def graph(
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str = "short",
    *,
    steps: Sequence[Step] = (),
    stacked: bool = False,
    top: float | None = None,
    colours: Mapping[str, str] | None = None,
    none: str = "no data",
    width: int = 0,
) -> Panel:
    """Lines over time. steps: limits, drawn as dashed lines. colours: by the beginning of a line's name."""
    options = {
        "legend": {"calcs": ["lastNotNull"], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom = {
        "drawStyle": "line",
        "fillOpacity": 25 if stacked else 8,
        "lineInterpolation": "linear",
        "lineWidth": 2,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    overrides = [
        {
            "matcher": {"id": "byRegexp", "options": f"/^{name}/"},
            "properties": [{"id": "color", "value": {"fixedColor": colour, "mode": "fixed"}}],
        }
        for name, colour in (colours or {}).items()
    ]
    return _panel(
        "timeseries",
        title,
        description,
        queries,
        unit,
        options,
        steps or PLAIN,
        None,
        None,
        none,
        width=width,
        top=top,
        custom=custom,
        overrides=overrides,
        colour="palette-classic",
    )


def table(title: str, description: str, expr: str, columns: Mapping[str, str], *, none: str, width: int = 0) -> Panel:
    """The labels of what is there at this moment. columns: heading by label, from left to right."""
    options = {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True}
    panel = _panel("table", title, description, [Query(expr)], "none", options, PLAIN, None, None, none, width=width)
    target = panel.content["targets"][0]
    target |= {"format": "table", "instant": True, "range": False}
    panel.content["transformations"] = [
        {"id": "filterFieldsByName", "options": {"include": {"names": [*columns]}}},
        {
            "id": "organize",
            "options": {
                "indexByName": {label: number for number, label in enumerate(columns)},
                "renameByName": dict(columns),
            },
        },
    ]
    return panel


def document(page: Page, links: Sequence[Page]) -> Json:
    """The dashboard as Grafana reads it. :param links: pages that it leads to."""
    panels: list[Json] = []
    y = 0
    for row in page.rows:
        if row.title:
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "panels": [],
                    "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
                }
            )
            y += 1
        x = 0
        for panel, width in zip(row.panels, _widths(row), strict=True):
            place = {"h": row.height, "w": width, "x": x, "y": y}
            panels.append({"id": len(panels) + 1, **panel.content, "gridPos": place})
            x += width
        y += row.height
    return {
        "uid": uid(page),
        "title": page.title,
        "description": page.description,
        "tags": ["llm"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {"text": "Prometheus", "value": "prometheus"},
                    "hide": 2,
                    "regex": "",
                    "options": [],
                }
            ]
        },
        "links": [
            {"title": other.title.rpartition(": ")[2], "type": "link", "url": f"/d/{uid(other)}", "keepTime": True}
            for other in links
            if other is not page
        ],
        "annotations": {"list": []},
        "panels": panels,
    }


def uid(page: Page) -> str:
    return f"llm-{page.name}"


def _widths(row: Row) -> list[int]:
    """Columns of each panel; those that say none share the rest evenly."""
    left, open_ones = COLUMNS - sum(panel.width for panel in row.panels), [p for p in row.panels if not p.width]
    shares = [left // len(open_ones) + (number < left % len(open_ones)) for number in range(len(open_ones))]
    return [panel.width or shares.pop(0) for panel in row.panels]


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    options: Json,
    steps: Sequence[Step],
    words: Words | None,
    decimals: int | None,
    none: str,
    *,
    width: int,
    top: float | None = None,
    custom: Json | None = None,
    overrides: Sequence[Json] = (),
    colour: str = "thresholds",
) -> Panel:
    defaults: Json = {
        "unit": unit,
        "color": {"mode": colour},
        "mappings": [
            {"type": "value", "options": {str(value): {"text": text, "color": shade, "index": number}}}
            for number, (value, (text, shade)) in enumerate((words or {}).items())
        ],
        "noValue": none,
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": shade} for value, shade in steps]},
    }
    defaults |= {"custom": custom} if custom else {}
    defaults |= {"decimals": decimals} if decimals is not None else {}
    defaults |= {"min": 0, "max": top} if top is not None else {"min": 0} if kind == "timeseries" else {}
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": True,
        }
        for number, query in enumerate(queries)
    ]
    content = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
    }
    return Panel(content, width)
