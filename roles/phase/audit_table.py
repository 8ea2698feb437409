"""The audit logs of all hosts of a run as one table, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyinfra import logger
from pyinfra.api import Host

COLUMNS = ("time", "host", "what", "result", "seconds", "by", "command", "detail")
_seen: dict[str, list[dict[str, Any]]] = {}


def show(host: Host, entries: list[dict[str, Any]], count: int) -> None:
    """Take a host's entries; when every host that answers has given its own, print the last `count` of each."""
    current = host.state.inventory.get_host(host.name)
    _seen[current.name] = entries[-count:]
    if len(_seen) == len(current.state.active_hosts):
        for line in table(_seen):
            logger.info(line)


def table(entries: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Lines with a head, in columns. :param entries: by host, as llm-phase writes them."""
    rows = sorted(_row(name, entry) for name, found in entries.items() for entry in found)
    widths = [max(len(row[place]) for row in (COLUMNS, *rows)) for place in range(len(COLUMNS))]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (COLUMNS, *rows)
    ]


def _row(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    to = str(entry.get("to", ""))
    what = f"Phase {to}" if to.isdigit() else to
    told = {**entry, "host": name, "what": what}
    return tuple(" ".join(str(told.get(column, "")).split()) for column in COLUMNS)
