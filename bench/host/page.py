"""The results as one HTML page without scripts; nothing is fetched. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bench.host import tables
from bench.host.chart import svg

_STYLE = """
:root{color-scheme:light dark;--t:#1f2933;--b:#fff;--l:#d5dae0;--w:#8a2b06;--wb:#fff1e8}
@media(prefers-color-scheme:dark){:root{--t:#e6e9ed;--b:#14181d;--l:#38414b;--w:#ffb38a;--wb:#3a2216}}
body{font:14px/1.5 system-ui,sans-serif;color:var(--t);background:var(--b);margin:2rem auto;max-width:76rem;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;display:block;overflow-x:auto}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{border:1px solid var(--l);padding:.25rem .6rem;text-align:left}
td{font-variant-numeric:tabular-nums}
.w{color:var(--w);background:var(--wb);padding:.5rem .8rem;border-left:4px solid var(--w)}
svg{width:100%;height:auto}
"""


def page(results: Mapping[str, Any]) -> str:
    """The page. Everything that a server said is escaped."""
    told = "<br>\n".join(escape(warning) for warning in tables.warnings(results))
    warnings = f'<p class="w">{told}</p>\n' if told else ""
    parts = [_table(tables.caption(results, "Models"), *tables.identities(results))]
    parts.append(_table(tables.caption(results, "The guide's comparison"), *tables.comparison(results)))
    parts += [_table(tables.caption(results, cell), tables.HEAD, lines) for cell, lines in tables.cells(results)]
    notes = "".join(f"<li>{escape(note)}</li>\n" for note in tables.notes(results))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>What the servers give their clients</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>What the servers give their clients</h1>\n{warnings}{svg(results)}"
        f"{''.join(parts)}<ul>\n{notes}</ul>\n</body></html>\n"
    )


def _table(title: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in line)}</tr>\n" for line in lines)
    return f"<table><caption>{escape(title)}</caption><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>\n"


def _cell(text: str) -> str:
    """Short ones stay on a line, such as `8 of 8`."""
    return escape(text).replace(" ", "&nbsp;") if len(text) <= 24 else escape(text)
