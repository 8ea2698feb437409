"""Units of the monitoring that run with their present files, and units that are off."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

Commands = Generator[StringCommand, None, None]


class RunsWith(FactBase[bool]):
    """Whether a unit runs, systemd knows it as it is on disk, and it was started after each of the files was last written."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, unit: str, paths: tuple[str, ...]) -> str:
        started = f'$(date -d "$(systemctl show -p ActiveEnterTimestamp --value {unit})" +%s)'
        newest = f"$(stat -c %Y {' '.join(paths)} | sort -n | tail -n 1)"
        current = f"systemctl is-active -q {unit} && ! {_is_unread(unit)} && [ {started} -ge {newest} ]"
        return f"{current} && echo yes || true"

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


@operation()
def unit_current(unit: str, paths: tuple[str, ...]) -> Commands:
    """Have a unit run with the present content of these files. :param paths: may have the shell's wildcards."""
    if host.get_fact(RunsWith, unit=unit, paths=paths):
        host.noop(f"{unit} runs with this configuration")
        return
    # Only where it is needed: a daemon-reload takes the cards away from containers that have them by the old way.
    reload = f"if {_is_unread(unit)}; then systemctl daemon-reload; fi"
    yield StringCommand(f"{reload}; systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit}")


def _is_unread(unit: str) -> str:
    """A command: whether systemd has not read the unit as it is on disk, nor the service that a timer starts."""
    both = f"{unit} {unit.removesuffix('.timer')}.service" if unit.endswith(".timer") else unit
    return f"systemctl show -p NeedDaemonReload --value {both} | grep -q yes"


class ServiceIsOn(FactBase[bool]):
    """Whether a unit runs, or would after a boot; a unit that is not there does neither."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, unit: str) -> StringCommand:
        one = QuoteString(unit)
        return StringCommand(
            "if", "systemctl", "is-active", "-q", one, "|| systemctl", "is-enabled", "-q", one, "2>/dev/null;",
            "then echo on; fi",
        )  # fmt: skip

    def process(self, output: list[str]) -> bool:
        return output == ["on"]


@operation()
def service_off(unit: str) -> Commands:
    """Have `unit` neither run nor start at a boot."""
    if not host.get_fact(ServiceIsOn, unit=unit):
        host.noop(f"{unit} is off")
        return
    yield StringCommand("systemctl", "disable", "--now", QuoteString(unit))
