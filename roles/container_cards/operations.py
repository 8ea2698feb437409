"""The operations that give containers their cards. Both decisions are made on the host, see host/container-cards."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from roles.layout import LIBEXEC

PROGRAM = f"{LIBEXEC}/container-cards"


class NothingToDo(FactBase[bool]):
    """Whether container-cards has nothing to do; also False while there is no program, driver or Docker to ask."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, what: str) -> str:
        return f"{PROGRAM} {what} --check >/dev/null 2>&1 && echo yes || true"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def cards_named() -> Generator[StringCommand, None, None]:
    """Have the CDI specification name exactly the cards of the host, with the files of the driver that is there."""
    if host.get_fact(NothingToDo, what="cdi"):
        host.noop("the CDI specification names every card")
        return
    yield StringCommand(PROGRAM, "cdi")


@operation()
def cards_proved() -> Generator[StringCommand, None, None]:
    """Have a proof on record, made with the present driver, toolkit, Docker, daemon.json and cards."""
    if host.get_fact(NothingToDo, what="prove"):
        host.noop("a container listed the cards, and nothing changed since")
        return
    yield StringCommand(PROGRAM, "prove")
