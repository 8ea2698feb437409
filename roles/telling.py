"""How a playbook that only looks at hosts tells what it saw: the words for it, and what a line of JSON has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

LOST = "the connection was lost, or something could not be read; the lines above say what"
UNREADABLE = "the host does not run python3, or not ours; pyinfra inventory preflight.py --dry says what to do"
UNKNOWN = "unknown"  # the verdict on a host of which nothing can be said for sure
UNKNOWN_STATUS, FOUND_STATUS = 1, 3  # not 2: a command line that is wrong ends with that


class AboutHost(Protocol):
    """What is told of one host."""

    @property
    def host(self) -> str: ...
    @property
    def verdict(self) -> str: ...


class Refusal(Protocol):
    """A finding of preflight that keeps a deploy from the host."""

    @property
    def about(self) -> str: ...
    @property
    def fact(self) -> str: ...
    @property
    def remedy(self) -> str: ...


Told = TypeVar("Told", bound=AboutHost)


@dataclass(frozen=True)
class Words(Generic[Told]):
    """How it is told. `unknown`: from a host's name and a reason; `end`: the last line and the exit status, from all hosts."""

    report: Callable[[Told], str]
    as_json: Callable[[Told], str]
    unknown: Callable[[str, str], Told]
    end: Callable[[Sequence[Told]], tuple[str, int]]


def wrong_inventory(problems: Iterable[Refusal]) -> str:
    """Why nothing can be said about a host whose settings are wrong. :param problems: with them."""
    told = "; ".join(f"{problem.about}: {problem.fact}" for problem in problems)
    return f"the inventory is wrong, {told}; pyinfra inventory preflight.py --dry says what to do"


def exit_status(told: Iterable[AboutHost], good: str) -> int:
    """0: every host has the good verdict; 1: of some host nothing can be said; 3: all were looked at, one at least is not good."""
    verdicts = {one.verdict for one in told}
    if UNKNOWN in verdicts:
        return UNKNOWN_STATUS
    return FOUND_STATUS if verdicts - {good} else 0


def summary(look: str, told: Iterable[AboutHost], words: Mapping[str, str]) -> str:
    """The last line of a run. :param words: by verdict, the good one first, which is told also where no host has it."""
    verdicts = [one.verdict for one in told]
    counts = {verdict: verdicts.count(verdict) for verdict in words}
    said = (f"{counts[key]} {words[key]}" for key in words if counts[key] or key == next(iter(words)))
    return f"{look}: {', '.join(said)}"
