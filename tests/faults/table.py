"""The table in docs/faults.md: a row per fault, kept by its name from run to run. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.marked_part import MarkedPart

BEGIN, END = "<!-- make test-faults -->", "<!-- end of make test-faults -->"
PART = MarkedPart("docs/faults.md", BEGIN, END)
HEAD = ("| what was broken | what happened | seconds until serving | seen |", "|---|---|---:|---|")
CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST = 400
END_OF_TEXT = 250


@dataclass(frozen=True)
class Row:
    """What came of one fault; every cell as it is printed."""

    fault: str
    happened: str
    seconds: str
    seen: str


def row_of(fault: str, happened: str, seconds: float | None, seen: str) -> Row:
    """:param seconds: until text was served again; 0 when it never ceased, None where nothing was serving."""
    return Row(*(one_line(text) for text in (fault, happened, "–" if seconds is None else f"{seconds:.1f}", seen)))


def cause_of(said: str) -> str:
    """Of what a failed test printed: the obstacles that preflight names, and the end, which is where other reasons are.

    Where this checkout lies is nobody's business.
    """
    text = said.partition("\nassert ")[0].strip().replace(f"{CHECKOUT}/", "")
    errors = [line.strip() for line in text.splitlines() if re.match(r"\s+error\s{2,}", line)]
    return " ".join([*errors[:2], text if len(text) <= END_OF_TEXT else f"…{text[-END_OF_TEXT:]}"])


def one_line(text: str) -> str:
    """Text that fits into a cell."""
    flat = " ".join(text.split()).replace("|", "/").replace("<", "‹")
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"


def rows_of(page: str) -> list[Row]:
    """The rows between the marks. Raises ValueError when a mark is missing or a line is no row."""
    lines = PART.of(page).strip().splitlines()[len(HEAD) :]
    found = []
    for line in lines:
        cells = re.fullmatch(r"\| (.*) \| (.*) \| (.*) \| (.*) \|", line)
        if cells is None:
            raise ValueError(f"docs/faults.md: no row: {line!r}")
        found.append(Row(*cells.groups()))
    return found


def with_rows(page: str, rows: Iterable[Row]) -> str:
    """The page with these rows and no others. Raises ValueError when a mark is missing."""
    lines = [*HEAD, *(f"| {' | '.join(astuple(row))} |" for row in rows)]
    return PART.replaced(page, "".join(f"{line}\n" for line in lines))


def updated(old: Iterable[Row], new: Row, order: list[str], whole: bool) -> list[Row]:
    """The rows with one more, or another one of the same name, in an order.

    :param order: names of the faults of this run; others follow them as they were.
    :param whole: whether these are all there are: what has no test any more goes.
    """
    by_fault = {**{row.fault: row for row in old}, new.fault: new}
    places = {fault: place for place, fault in enumerate(order)}
    kept = [row for row in by_fault.values() if row.fault in places or not whole]
    return sorted(kept, key=lambda row: places.get(row.fault, len(places)))
