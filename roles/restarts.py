"""Restarting a service of the distribution when its configuration is newer than its start, whoever wrote or started it."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation


class StartedAfter(FactBase[bool]):
    """Whether a unit runs, and was started after the file was last written."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, unit: str, path: str) -> str:
        started = f'$(date -d "$(systemctl show -p ActiveEnterTimestamp --value {unit})" +%s)'
        return f"systemctl is-active -q {unit} && [ {started} -ge $(stat -c %Y {path}) ] && echo yes || true"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def started_after(unit: str, path: str, restart: str) -> Generator[StringCommand, None, None]:
    """Have `unit` run with the present content of `path`. :param restart: the command that does it."""
    if host.get_fact(StartedAfter, unit=unit, path=path):
        host.noop(f"{unit} runs with this {path}")
        return
    yield StringCommand(restart)
