"""The part of a page between two marks, which a command writes. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MarkedPart:
    """Where it is: the page's name, for errors, and the lines before and after the part."""

    page: str
    begin: str
    end: str

    def of(self, text: str) -> str:
        """What is between the marks. Raises ValueError when one is missing."""
        return self._split(text)[1]

    def replaced(self, text: str, new: str) -> str:
        """The page with `new`, which ends with a line's end, between the marks. Raises ValueError when one is missing."""
        before, _, after = self._split(text)
        return f"{before}{self.begin}\n{new}{self.end}{after}"

    def _split(self, text: str) -> tuple[str, str, str]:
        before, begin, rest = text.partition(self.begin)
        inside, end, after = rest.partition(self.end)
        if not begin or not end:
            raise ValueError(f"{self.page} has no {self.begin!r} with {self.end!r} behind it")
        return before, inside, after
