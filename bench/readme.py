"""The benchmark's part of the project's README. No I/O."""

from __future__ import annotations

BEGIN, END = "<!-- make bench -->", "<!-- end of make bench -->"


def with_summary(readme: str, summary: str) -> str:
    """The README with a new summary between its two marks.

    :raises ValueError: the marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN!r} with {END!r} behind it")
    return f"{before}{BEGIN}\n{summary}{END}{after}"
