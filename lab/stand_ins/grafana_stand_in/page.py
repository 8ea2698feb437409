"""A dashboard's page: Grafana's grid of 24 columns, rows of 30 pixels, 8 between; drawn for a window of a given width."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from . import drawing
from .asking import AskError, Line, Span, lines
from .provisioning import Dashboard, Source
from .version import VERSION

COLUMNS, CELL, GAP, MARGIN, TITLE = 24, 30, 8, 16, 30
STYLE = """
body{margin:0;background:#111217;color:#ccccdc;font:13px/1.4 Inter,"DejaVu Sans",Helvetica,Arial,sans-serif}
header{display:flex;align-items:center;gap:14px;height:44px;padding:0 16px;background:#181b1f;border-bottom:1px solid #2c3235}
header a{color:#9fa7b3;text-decoration:none} header b{font-size:15px;font-weight:500}
header .played{margin-left:auto;color:#ff9830;border:1px solid #ff9830;border-radius:3px;padding:2px 8px;font-size:12px}
main{position:relative;margin:12px 16px}
section{position:absolute;overflow:hidden;background:#181b1f;border:1px solid #24282d;border-radius:3px;box-sizing:border-box}
section>h2{margin:0;padding:7px 10px 0;height:23px;font-size:13px;font-weight:500;
 white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
section.row{background:none;border:0} section.row>h2{padding-left:2px;font-size:15px}
.none{display:flex;align-items:center;justify-content:center;height:calc(100% - 40px);color:#8e8e9c}
.legend{display:flex;flex-wrap:wrap;gap:0 14px;padding-left:10px;overflow:hidden;font-size:12px;line-height:20px;color:#b4b7c0}
.legend i{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;vertical-align:middle}
.legend b{margin-left:6px;font-weight:500;color:#ccccdc} .failed{padding:8px;color:#f2495c;font-size:12px}
svg{display:block} text{font-family:inherit} .axis{fill:#9fa7b3;font-size:11px} .grid{stroke:#2c3235;stroke-width:1}
.big{text-anchor:middle;dominant-baseline:central;font-weight:500}
.table{padding:4px 10px} table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:4px 8px;border-bottom:1px solid #24282d}
th{color:#8ab8ff;font-weight:500}
"""


def page(dashboard: Dashboard, sources: Sequence[Source], span: Span, width: int) -> str:
    """The page of a dashboard as HTML, with what Prometheus says now."""
    content = dashboard.content
    column = (width - 2 * MARGIN + GAP) / COLUMNS
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        panels = "".join(pool.map(lambda panel: _panel(panel, sources, span, column), content["panels"]))
    height = max(_place(panel, column)[1] + _place(panel, column)[3] for panel in content["panels"])
    links = "".join(f'<a href="{escape(one["url"])}">{escape(one["title"])}</a>' for one in content.get("links", []))
    shown = f"{_clock(span.start)} – {_clock(span.end)}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(content['title'])}</title>"
        f"<meta http-equiv=refresh content=30><style>{STYLE}</style>"
        f"<header><b>{escape(content['title'])}</b>{links}<span>{shown}</span>"
        f'<span class="played">stand-in for Grafana {VERSION}: the same dashboard file, drawn by the lab</span></header>'
        f'<main style="height:{height:.0f}px">{panels}</main>'
    )


def _panel(panel: dict[str, Any], sources: Sequence[Source], span: Span, column: float) -> str:
    x, y, width, height = _place(panel, column)
    place = f"left:{x:.1f}px;top:{y:.1f}px;width:{width:.1f}px;height:{height:.1f}px"
    title = escape(panel.get("title", ""))
    if panel["type"] == "row":
        return f'<section class="row" style="{place}"><h2>{title}</h2></section>'
    inner = width - 2
    try:
        found, step = series(panel, sources, span, inner)
        body, colour = drawing.body(panel, found, span, step, inner, height - TITLE - 2)
    except AskError as problem:
        body, colour = f'<div class="failed">{escape(str(problem))}</div>', ""
    if colour:
        place += f";background:{colour};color:#fff"
    told = escape(panel.get("description", ""))
    return f'<section style="{place}" title="{told}"><h2>{title}</h2>{body}</section>'


def series(panel: dict[str, Any], sources: Sequence[Source], span: Span, pixels: float) -> tuple[list[Line], float]:
    """What a panel's queries give, and the seconds between two points. Raises AskError."""
    uid = panel["datasource"]["uid"]
    source = next((one for one in sources if one.uid == uid or (uid.startswith("$") and one.is_default)), None)
    if source is None:
        raise AskError(f"Datasource {uid} was not found")
    step = span.step(pixels, source.interval_s)
    return [line for target in panel["targets"] for line in lines(source.url, target, span, step)], step


def _place(panel: dict[str, Any], column: float) -> tuple[float, float, float, float]:
    grid = panel["gridPos"]
    row = CELL + GAP
    return grid["x"] * column, grid["y"] * row, grid["w"] * column - GAP, grid["h"] * row - GAP


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
