"""How a playbook that only looks at hosts tells what it saw: the words for it, and what a line of JSON has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class AboutHost(Protocol):
    """What is told of one host."""

    @property
    def host(self) -> str: ...


Told = TypeVar("Told", bound=AboutHost)


@dataclass(frozen=True)
class Words(Generic[Told]):
    """How it is told. `unknown`: from a host's name and a reason; `end`: the last line and the exit status, from all hosts."""

    report: Callable[[Told], str]
    as_json: Callable[[Told], str]
    unknown: Callable[[str, str], Told]
    end: Callable[[Sequence[Told]], tuple[str, int]]
