"""The benchmark's part of the project's README. No I/O."""

from __future__ import annotations

from bench.marked_part import MarkedPart

BEGIN, END = "<!-- make bench -->", "<!-- end of make bench -->"


def with_summary(readme: str, summary: str) -> str:
    """The README with a new summary between its two marks.

    :raises ValueError: the marks are not there.
    """
    return MarkedPart("README.md", BEGIN, END).replaced(readme, summary)
