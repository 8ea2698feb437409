"""The state of our units as systemd and the started-with records tell it, in one round trip."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand

from roles.started_with import RECORDS

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "NRestarts", "Result")


@dataclass(frozen=True)
class UnitState:
    """One unit. `started_with` is None when it never came up with the inputs on record."""

    load: str
    active: str
    sub: str
    enabled: bool
    needs_reload: bool
    restarts: int
    result: str
    started_with: dict[str, str] | None

    @property
    def runs(self) -> bool:
        return self.active == "active"


class Units(FactBase[dict[str, UnitState]]):
    """State of units by name; a unit that systemd does not know has `load` "not-found"."""

    @staticmethod
    def default() -> dict[str, UnitState]:
        return {}

    def command(self, units: tuple[str, ...]) -> StringCommand:
        names = [QuoteString(unit) for unit in units]
        return StringCommand(
            "systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names, ";",
            "for f in", f"{RECORDS}/*.json;", "do [ -f \"$f\" ] && echo \"record $f\" && tr -d '\\n' < \"$f\" && echo; done; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> dict[str, UnitState]:
        return parse_units(output)


def parse_units(output: list[str]) -> dict[str, UnitState]:
    """Blocks of `Key=value` lines, then pairs of `record <path>` and one line of JSON."""
    blocks: list[dict[str, str]] = [{}]
    records: dict[str, dict[str, str]] = {}
    lines = iter(output)
    for line in lines:
        if line.startswith("record "):
            unit = line.rsplit("/", 1)[1].removesuffix(".json")
            try:
                records[unit] = json.loads(next(lines, ""))
            except ValueError:
                continue  # half written when the power went: the same as no record
        elif not line.strip():
            blocks.append({})
        elif "=" in line:
            key, _, value = line.partition("=")
            blocks[-1][key] = value
    return {
        block["Id"]: UnitState(
            load=block.get("LoadState", ""),
            active=block.get("ActiveState", ""),
            sub=block.get("SubState", ""),
            enabled=block.get("UnitFileState", "") == "enabled",
            needs_reload=block.get("NeedDaemonReload", "no") == "yes",
            restarts=int(block.get("NRestarts") or 0),
            result=block.get("Result", ""),
            started_with=records.get(block["Id"]) if block.get("ActiveState") == "active" else None,
        )
        for block in blocks
        if "Id" in block
    }
