"""What a prober wrote down: one record for each request. Read and written as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One request. Times are seconds since the prober began."""

    series: str
    due_s: float  # when it was to be sent
    start_s: float
    end_s: float
    status: int | None = None  # of the answer; None: there was none
    problem: str = ""  # why there was none, such as "ConnectError"
    told: str = ""  # the text under "error" in the answer

    @property
    def is_failed(self) -> bool:
        """Anything but a whole answer with status 200."""
        return self.status != 200

    @property
    def latency_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def kind(self) -> str:
        """What became of it, in a word or two: "200", "503" or the class of the error."""
        return str(self.status) if self.status is not None else self.problem


@dataclass(frozen=True)
class Stream:
    """One long answer, read line by line. `end` is "whole", "error line", "refused" or "cut"."""

    start_s: float
    end_s: float
    lines: int
    end: str
    told: str = ""


def write(path: Path, records: Iterable[Record | Stream]) -> None:
    """Write records as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def read(path: Path) -> list[Record]:
    """The records of requests that `write` wrote."""
    with path.open(encoding="utf-8") as file:
        return [Record(**json.loads(line)) for line in file]
