"""What was measured beside the adapter, and whether it is flat. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MIB = 2**20
MEMORY_GROWTH_BYTES, MEMORY_GROWTH_SHARE = 4 * MIB, 0.05
FILES_GROWTH = 8
FEWEST_SAMPLES = 10
JUDGED_FROM_S = 540.0  # a shorter run still warms up in its second fifth

RULE = (
    "flat: the median of the last fifth of the run is above the median of its second fifth by at most "
    f"{MEMORY_GROWTH_BYTES // MIB} MiB or {MEMORY_GROWTH_SHARE:.0%}, whichever is more (open files: by at most {FILES_GROWTH})"
)


@dataclass(frozen=True)
class Sample:
    """One look; `at_s` is seconds since the start of the run, memory is in bytes."""

    at_s: float
    main_pid: int
    main_rss: int
    all_rss: int
    processes: int
    open_files: int
    running: float | None
    waiting: float | None


@dataclass(frozen=True)
class Growth:
    """Two medians and whether the second is not above the first by more than allowed."""

    name: str
    early: float
    late: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        return self.late - self.early <= self.allowed


def fifth(samples: Sequence[Sample], number: int, duration_s: float) -> list[Sample]:
    """The samples of the first (1) to last (5) fifth; without those in which there was no adapter to look at."""
    low, high = (number - 1) * duration_s / 5, number * duration_s / 5
    return [sample for sample in samples if low <= sample.at_s < high and sample.main_rss]


def growths(samples: Sequence[Sample], duration_s: float) -> list[Growth]:
    """The growth of each measure; none where one of the two fifths has too few samples."""
    early, late = fifth(samples, 2, duration_s), fifth(samples, 5, duration_s)
    if min(len(early), len(late)) < FEWEST_SAMPLES:
        return []
    found = []
    for name, allowed in (("main_rss", None), ("all_rss", None), ("open_files", float(FILES_GROWTH))):
        first = float(median(getattr(sample, name) for sample in early))
        second = float(median(getattr(sample, name) for sample in late))
        bound = max(MEMORY_GROWTH_BYTES, first * MEMORY_GROWTH_SHARE) if allowed is None else allowed
        found.append(Growth(name, first, second, bound))
    return found
