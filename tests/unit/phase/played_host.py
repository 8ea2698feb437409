"""A host as llm_phase sees it: systemd, the cards and the probes are played, files are real below a folder.

Every call of a program is a point at which the power can be cut; `cut_at` says at which.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from roles.pins import ROOT

VISION, TEXT, VLLM, SOCKET, ADAPTER = (
    "ollama-vision.service", "ollama-text.service", "vllm.service", "ollama-adapter.socket", "ollama-adapter.service",
)  # fmt: skip
TARGETS = {"1": "llm-phase1.target", "2": "llm-phase2.target"}
UNITS = {"1": [VISION, TEXT], "2": [VISION, VLLM, SOCKET, ADAPTER]}


GATES = {
    VISION: ["ollama", "--port", "3", "--model", "llava:7b"],
    TEXT: ["ollama", "--port", "1", "--model", "llama3.2", "--model", "llama2:7b", "--some"],
    VLLM: ["vllm", "--port", "2", "--model", "llm"],
    ADAPTER: ["adapter", "--port", "1", "--model", "llama2"],
}
PROBED = {VISION: "llava:7b", TEXT: "llama3.2", VLLM: "llm", ADAPTER: "llama2"}
FILES = (
    ("audit", "STATE", "state.json"), ("audit", "AUDIT", "audit.jsonl"), ("locks", "AUDIT", "audit.jsonl"),
    ("locks", "RUN_LOCK", "lock"), ("locks", "SWITCH_LOCK", "switch.lock"), ("telling", "RUN_LOCK", "lock"),
    ("telling", "SWITCH_LOCK", "switch.lock"), ("releases", "RELEASES", "releases"), ("placing", "RELEASES", "releases"),
    ("releases", "SOFTWARE", "opt"), ("placing", "NEXT", "next"), ("placing", "PLACING", "placing.json"),
    ("placing", "UNITS", "units/"), ("steps", "STARTED", "started-with"), ("steps", "INPUTS", "inputs"),
)  # fmt: skip


class PowerCut(BaseException):
    """Everything stops here; files stay, services are gone."""


def modules() -> dict[str, ModuleType]:
    """llm_phase as it lies on a host, by the last part of the name."""
    folder = str(ROOT / "roles/phase/host")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    names = (
        "errors", "files", "host", "locks", "output", "audit", "releases", "placing", "steps", "gpu_share", "switching",
        "deploying", "telling", "command",
    )  # fmt: skip
    return {name: importlib.import_module(f"llm_phase.{name}") for name in names}


class PlayedHost:
    """Units with their states; `broken` ones do not come up, `deaf` ones end by SIGKILL alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.active: dict[str, int] = {}  # unit -> number of its start
        self.alias: str | None = None  # the link that a boot follows
        self.broken: set[str] = set()
        self.deaf: set[str] = set()
        self.silent: set[str] = set()  # run, and answer no probe
        self.orphans: dict[int, str] = {}  # pid on a card -> whose it is
        self.starts = 0
        self.calls: list[list[str]] = []
        self.cut_at: int | None = None
        self.full_disk = False
        for name in ("etc", "disk"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "etc/phases.json").write_text(json.dumps(self.described()))
        for path in self.files():
            path.write_text("there")

    @property
    def wants(self) -> Path:
        """What a boot starts besides: links of earlier versions."""
        return self.folder / "multi-user.target.wants"

    @property
    def enabled(self) -> set[str]:
        """As systemctl is-enabled says."""
        links = {link.name for link in self.wants.iterdir()} & {*TARGETS.values()}
        return links | ({self.alias} if self.alias else set())

    def described(self) -> dict[str, Any]:
        disk = self.folder / "disk"
        return {
            number: {
                "target": TARGETS[number],
                "units": units,
                "files": [str(disk / f"software-{number}")],
                "models": {name: str(disk / name.replace(":", "-")) for name in ("llama3.2", "llama2:7b")} if number == "1" else {},
                "gates": {unit: gate for unit, gate in GATES.items() if unit in units},
                "timeout_s": {unit: 1 for unit in units},
            }
            for number, units in UNITS.items()
        }  # fmt: skip

    def files(self) -> list[Path]:
        return [self.folder / "disk" / name for name in ("software-1", "software-2", "llama3.2", "llama2-7b")]

    # What the programs say

    def run(self, *words: str, timeout: float = 0) -> subprocess.CompletedProcess[str]:
        self.calls.append([*words])
        if self.cut_at is not None and len(self.calls) > self.cut_at:
            self.active.clear()
            raise PowerCut
        answer: dict[str, Callable[..., tuple[int, str, str]]] = {
            "systemctl": self._systemctl,
            "nvidia-smi": self._cards,
            "journalctl": self._journal,
            "systemd-analyze": lambda *_: (0, "", ""),
        }
        program = words[0].rpartition("/")[2]
        status, out, err = answer.get(program, self._probe)(*words[1:])
        return subprocess.CompletedProcess(words, status, out, err)

    def _systemctl(self, verb: str, *words: str) -> tuple[int, str, str]:
        units = [word for word in words if not word.startswith("--")]
        if verb == "show":
            return 0, "\n\n".join(self._shown(unit) for unit in units), ""
        if verb == "enable":
            (self.alias,) = units
        elif verb == "stop":
            self._stop([unit for unit in units if unit not in self.deaf])
        elif verb == "kill":
            self._stop(units)
        elif verb == "start":
            return self._start(units)
        elif verb == "restart":
            for unit in units:
                self.starts += 1
                self.active[unit] = self.starts
        return 0, "", ""

    def _shown(self, unit: str) -> str:
        state = "active" if unit in self.active else "inactive"
        wanted = "enabled" if unit in self.enabled else "disabled"
        number = self.active.get(unit, "")
        return f"Id={unit}\nActiveState={state}\nUnitFileState={wanted}\nInvocationID={number}\nControlGroup=/played/{unit}"

    def _stop(self, units: list[str]) -> None:
        for unit in units:
            self.active.pop(unit, None)
        if VLLM in units and self.orphans:
            return
        for target, members in UNITS.items():
            if any(unit in members and unit != VISION for unit in units):
                self.active.pop(TARGETS[target], None)

    def _start(self, units: list[str]) -> tuple[int, str, str]:
        target = next(unit for unit in units if unit.endswith(".target"))
        other = next(one for one in TARGETS.values() if one != target)
        number = next(number for number, one in TARGETS.items() if one == target)
        self.active.pop(other, None)
        for unit in UNITS["2" if number == "1" else "1"]:
            if unit not in UNITS[number]:
                self.active.pop(unit, None)
        for unit in units:
            if unit in self.broken:
                return 1, "", f"Job for {unit} failed."
            if unit not in self.active:
                self.starts += 1
                self.active[unit] = self.starts
        return 0, "", ""

    def _cards(self, *_: str) -> tuple[int, str, str]:
        return 0, "".join(f"{pid}, 100\n" for pid in self.orphans), ""

    def _journal(self, *_: str) -> tuple[int, str, str]:
        return 0, "its last line", ""

    def _probe(self, *words: str) -> tuple[int, str, str]:
        asked = next(unit for unit, name in PROBED.items() if name in words)
        serves = asked in self.active and asked not in self.silent
        return (0, "", "") if serves else (1, "", f"{asked} does not serve")

    # What is asserted

    def reboot(self) -> None:
        """What the next boot brings: the enabled targets' units."""
        self.active.clear()
        self.cut_at = None
        for number, target in TARGETS.items():
            if target in self.enabled:
                self._start([target, *(unit for unit in UNITS[number] if unit not in self.broken)])

    def serving(self) -> str | None:
        whole = [n for n, units in UNITS.items() if all(unit in self.active for unit in (*units, TARGETS[n]))]
        return whole[0] if len(whole) == 1 else None

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    def entries(self) -> list[dict[str, Any]]:
        """What llm-phase reads of its log."""
        found: list[dict[str, Any]] = modules()["audit"].entries()
        return found

    def audit(self) -> list[dict[str, Any]]:
        file = self.folder / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def play(folder: Path, patch: Callable[[Any, str, Any], None]) -> PlayedHost:
    """A host below `folder`, in Phase 1; `patch(module, name, value)` as monkeypatch.setattr."""
    parts, host = modules(), PlayedHost(folder)
    for part in ("host", "steps", "placing"):
        patch(parts[part], "run", host.run)
    for part in ("host", "switching"):
        patch(parts[part], "PHASES", str(folder / "etc/phases.json"))
    for part in ("host", "steps"):
        patch(parts[part], "PROVED", str(folder / "proved"))
    for part, name, file in FILES:
        patch(parts[part], name, str(folder / file))
    for part in ("switching", "telling", "placing"):
        patch(parts[part], "STATE", str(folder / "state.json"))
    at_boot = folder / "multi-user.target.wants/llm-phase.target"
    at_boot.parent.mkdir()
    at_boot.symlink_to("../llm-phase.target")
    for part in ("host", "steps"):
        patch(parts[part], "AT_BOOT", str(at_boot))
    patch(parts["steps"], "user_of", lambda pid: host.orphans.get(pid, ""))
    patch(parts["steps"].os, "kill", lambda pid, signal: host.orphans.pop(pid, None))
    patch(parts["steps"], "GONE_S", 0.05)
    patch(parts["command"].os, "geteuid", lambda: 0)
    host.alias = TARGETS["1"]
    host.reboot()
    (folder / "state.json").write_text(json.dumps({"phase": 1, "vllm": "kept"}))
    return host
