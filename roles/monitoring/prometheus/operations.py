"""Configuration that is checked before it is put in place, units that run with it, and units that are stopped again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from roles.layout import LIBEXEC, UNITS, drop_in

PROGRAM = f"{LIBEXEC}/place-prometheus"
Commands = Generator[StringCommand, None, None]


class ConfigurationDue(FactBase[list[str]]):
    """What place-prometheus would change; on a host without the program, that it has work."""

    @staticmethod
    def default() -> list[str]:
        return ["to be set up"]

    def command(self, folder: str, told: str) -> StringCommand:
        return StringCommand(
            "if", "test", "-x", PROGRAM, ";", "then",
            "printf", "%s", QuoteString(told), "|", PROGRAM, "--check", QuoteString(folder), ";",
            "else", "echo", "to be set up", ";", "fi",
        )  # fmt: skip

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def configuration_placed(folder: str, files: dict[str, str], stand_for: dict[str, str]) -> Commands:
    """Have a folder hold exactly these files, once Prometheus' own tools have nothing against them.

    :param files: text by path below the folder.
    :param stand_for: for host/place-prometheus.
    """
    told = json.dumps({"files": files, "stand_for": stand_for})
    if not host.get_fact(ConfigurationDue, folder=folder, told=told):
        host.noop("the configuration is in place")
        return
    yield StringCommand("printf", "%s", QuoteString(told), "|", PROGRAM, QuoteString(folder))


class OursToStop(FactBase[list[str]]):
    """Of these units, those that are ours by their drop-in, or by their file, and run or start at boot."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, units: tuple[str, ...]) -> str:
        checks = [
            f"{{ test -e {drop_in(unit) if unit.endswith('.service') else f'{UNITS}/{unit}'} && "
            f"{{ systemctl is-active -q {unit} || systemctl is-enabled -q {unit} 2>/dev/null; }} && echo {unit}; }}"
            for unit in units
        ]
        return f"{'; '.join(checks)}; true"

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.strip()]


@operation()
def units_stopped(units: tuple[str, ...]) -> Commands:
    """Have none of these units run or start at boot, where they are ours. Their files and data stay."""
    if not units or not (ours := host.get_fact(OursToStop, units=units)):
        host.noop("none of them is ours and runs")
        return
    yield StringCommand(f"systemctl disable --now {shlex.join(ours)}")
