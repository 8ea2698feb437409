"""What the look at a host has seen beside the plan, as typed values, and the text of files that the plan would replace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand

from roles.layout import ETC, Snapshot
from roles.started_with import NO_START, RECORDS, changed_inputs

SCRIPT = Path(__file__).parent / "host" / "look.py"
MOST_BYTES = 100_000  # of a file that is compared line by line


@dataclass(frozen=True)
class LastChange:
    """When a file was written last, whose it is, and its mode in octal."""

    owner: str
    time: str
    mode: str

    def __str__(self) -> str:
        return f"written {self.time}, owner {self.owner}"


@dataclass(frozen=True)
class UnitSeen:
    """A unit as systemd knows it. `drop_ins`: in directories of this unit, whoever put them there."""

    load: str
    active: str
    result: str
    drop_ins: tuple[str, ...]


@dataclass(frozen=True)
class ModelSeen:
    """A revision in the hub cache. `dangling`: its files whose content is gone."""

    complete: bool
    files: int
    dangling: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """by_hand: by path, files that are not what the last deploy put down (None: gone).
    other_inputs: by unit, the inputs that its present start has not read as they are on the disk."""

    units: Mapping[str, UnitSeen]
    by_hand: Mapping[str, LastChange | None]
    other_inputs: Mapping[str, tuple[str, ...]]
    models: Mapping[str, ModelSeen]  # by its marker's path


def parse_look(raw: Mapping[str, Any]) -> Look:
    """The script's JSON object as typed values. Raises KeyError, TypeError or ValueError for anything else."""
    units = {
        name: UnitSeen(seen["LoadState"], seen["ActiveState"], seen.get("Result", ""), tuple(seen["drop_ins"]))
        for name, seen in raw["units"].items()
    }
    return Look(
        units=units,
        by_hand={path: LastChange(**seen) if seen else None for path, seen in raw["by_hand"].items()},
        other_inputs={
            unit: changed
            for unit, seen in raw["runs_with"].items()
            if unit in units and units[unit].active == "active" and (changed := _changed(seen["disk"], seen["start"]))
        },
        models={
            name: ModelSeen(model["marker"], model["files"], tuple(model["dangling"]))
            for name, model in raw["models"].items()
        },
    )


def _changed(disk: Mapping[str, str] | None, start: Mapping[str, str] | None) -> tuple[str, ...]:
    if start is None:
        return (NO_START,)
    return changed_inputs(start, disk or {})


class LookAtHost(FactBase["Look | None"]):
    """The look; None where the host has no python3 or says nothing that we understand.

    :param units: names. :param models: those of vLLM that the host is to have; none on a host for Phase 1 alone.
    """

    @staticmethod
    def default() -> Look | None:
        return None

    def command(self, units: Sequence[str], models: Sequence[Snapshot]) -> StringCommand:
        asked = {
            "units": list(units),
            "inputs": f"{ETC}/inputs",
            "records": RECORDS,
            "models": {model.marker: {"snapshot": model.path, "marker": model.marker} for model in models},
        }
        script = SCRIPT.read_text(encoding="utf-8")
        return StringCommand(
            "python3", "-c", QuoteString(script), QuoteString(json.dumps(asked)), "2>/dev/null", "||", "true"
        )

    def process(self, output: list[str]) -> Look | None:
        try:
            return parse_look(json.loads("".join(output)))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class FileSeen:
    """A file on the host; `text` only where everybody there may read it, and it is short enough. None: it is not there."""

    last_change: LastChange | None
    text: str | None


class FilesSeen(FactBase[dict[str, FileSeen]]):
    """Files by path."""

    @staticmethod
    def default() -> dict[str, FileSeen]:
        return {}

    def command(self, paths: Sequence[str]) -> StringCommand:
        script = SCRIPT.read_text(encoding="utf-8")
        asked = json.dumps({"paths": list(paths), "most_bytes": MOST_BYTES})
        return StringCommand("python3", "-c", QuoteString(script), QuoteString(asked))

    def process(self, output: list[str]) -> dict[str, FileSeen]:
        raw = json.loads("".join(output))
        return {
            path: FileSeen(LastChange(**seen["change"]) if seen["change"] else None, seen["text"])
            for path, seen in raw.items()
        }
