"""Services of a compose project on the host, pointed at its servers; the work is host/point-consumers."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from roles.layout import LIBEXEC

PROGRAM = f"{LIBEXEC}/point-consumers"


class ConsumersDue(FactBase[list[str]]):
    """What point-consumers would change; on a host without the program, that it has work. What it refuses is work too."""

    @staticmethod
    def default() -> list[str]:
        return ["to be set up"]

    def command(self, description: str) -> StringCommand:
        return StringCommand(
            "if", "test", "-x", PROGRAM, ";", "then",
            "printf", "%s", QuoteString(description), "|", PROGRAM, "--check", "2>&1", ";",
            "else", "echo", "to be set up", ";", "fi", ";", "true",
        )  # fmt: skip

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def services_pointed(description: str) -> Generator[StringCommand, None, None]:
    """Have the services ask this host's servers; those whose configuration changed are started anew, and are well after it.

    :param description: for point-consumers, JSON.
    """
    if not host.get_fact(ConsumersDue, description=description):
        host.noop("the services ask this host's servers")
        return
    yield StringCommand("printf", "%s", QuoteString(description), "|", PROGRAM)
