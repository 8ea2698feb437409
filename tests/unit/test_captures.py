"""What a real machine with a card said (tests/captures), as our programs read it and as the lab's stand-in plays it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from roles.cards import HOPPER, NvidiaDevices
from roles.driver_version import driver_version
from roles.facts.evidence import App, Evidence, Health, parse_evidence
from roles.gpus import DRIVER_BYTES, MIB
from roles.host_programs import load
from roles.nvidia.facts import parse_versions
from roles.pins import ROOT

CAPTURES = ROOT / "tests" / "captures"
STAND_IN = Path("lab/stand_ins/nvidia_smi_stand_in.py")
UUID = "GPU-05846ccf-5d50-0812-f778-27fc5cc97349"
VERSION = "580.159.04"
PLAYED = ("smi -L", "with header", "unknown field", "unknown card", "resolve-gpus", "make-room memory")


def capture(state: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CAPTURES / f"h100-{VERSION}-{state}.json").read_text())
    return found


IDLE, BUSY = capture("idle"), capture("busy")


def said(name: str, of: dict[str, Any] = IDLE) -> str:
    text: str = of["commands"][name]["out"]
    return text


def evidence(of: dict[str, Any]) -> Evidence:
    # A text that preflight began to gather after this was captured counts as one that the machine did not have.
    later = dict.fromkeys(texts_asked() - set(of["evidence"]["texts"]), "")
    return parse_evidence({**of["evidence"], "texts": {**of["evidence"]["texts"], **later}})


def texts_asked() -> set[str]:
    """Names of the texts that preflight gathers today."""
    source = (ROOT / "roles/facts/host/evidence.py").read_text()
    return {*re.findall(r'^        "(\w+)":', source, re.MULTILINE), "cgroups"}


def test_what_was_asked_is_what_the_programs_ask_today() -> None:
    asked = {name: found["command"] for name, found in IDLE["commands"].items()}
    resolve: Any = load(Path("roles/gpu_sharing/host/resolve-gpus"))
    room: Any = load(Path("roles/gpu_sharing/host/make-room"))
    assert f"--query-gpu={resolve.QUERY} " in asked["resolve-gpus"]
    assert f"--query-compute-apps={room.FIELDS} " in asked["make-room apps"]
    assert set(IDLE["evidence"]["texts"]) <= texts_asked()


def test_preflight_reads_an_idle_h100() -> None:
    found = evidence(IDLE)
    (card,) = found.cards
    assert (card.uuid, card.name, card.capability) == (UUID, "NVIDIA H100 80GB HBM3", 9.0)
    assert (card.memory_total, card.memory_used, card.driver, card.mig) == (81559, 0, VERSION, False)
    assert card.persistent
    assert found.health == (Health(UUID, False, False, 0),)
    assert (found.loaded, found.smi_failure, found.apps, found.xids, found.platform) == (VERSION, "", (), (), "")
    (device,) = found.pci_cards
    assert (device.address, device.generation, device.driver) == ("0000:00:06.0", HOPPER, "nvidia")


def test_preflight_sees_what_runs_on_a_busy_h100() -> None:
    found = evidence(BUSY)
    assert found.apps == (App(UUID, 534, "python3", 20998, ""),)
    assert found.cards[0].memory_used == 21007


def test_the_versions_of_a_loaded_open_module_are_read_from_both_files() -> None:
    assert driver_version(IDLE["files"]["/proc/driver/nvidia/version"]) == VERSION
    assert parse_versions([f"loaded {IDLE['files']['/sys/module/nvidia/version']}"]).loaded == VERSION
    first_line = IDLE["files"]["/proc/driver/nvidia/version"].splitlines()[0]
    assert parse_versions([f"loaded {first_line}"]).loaded == VERSION


def test_the_bus_is_read_without_a_driver() -> None:
    (card,) = NvidiaDevices().process(said("pci").splitlines())
    assert (card.device, card.generation, card.is_card) == (0x2330, HOPPER, True)


def test_cards_get_their_nodes() -> None:
    resolve: Any = load(Path("roles/gpu_sharing/host/resolve-gpus"))
    (card,) = resolve.parse_cards(said("resolve-gpus"))
    assert (card["index"], card["uuid"], card["mib"], card["mig"]) == ("0", UUID, 81559, False)
    bus = re.sub(r"^0000(?=[0-9A-Fa-f]{4}:)", "", card["bus"]).lower()
    assert resolve.parse_minor(IDLE["files"][f"/proc/driver/nvidia/gpus/{bus}/information"]) == 0
    assert "195,   0" in said("device nodes")
    assert resolve.parse_slices(said("smi -L")) == {}


def test_room_is_made_from_what_is_free_which_is_less_than_what_is_not_used() -> None:
    room: Any = load(Path("roles/gpu_sharing/host/make-room"))
    assert room.parse_memory(said("make-room memory")) == {UUID: (81559, 81079)}
    assert room.rows(said("make-room apps", BUSY), 4) == [[UUID, "534", "python3", "20998"]]
    assert room.short_of([UUID], room.parse_memory(said("make-room memory", BUSY)), 0.9, 0) == [
        f"card {UUID}: vLLM needs 73403 MiB free of 81559 MiB, 60073 MiB are free"
    ]
    assert (81559 - 81079) * MIB <= DRIVER_BYTES, "what the driver itself takes of an idle card"


@pytest.mark.parametrize("name", PLAYED)
def test_the_labs_stand_in_says_what_nvidia_smi_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in: Any = load(STAND_IN)
    monkeypatch.setattr(stand_in, "FOLDER", tmp_path)
    fields = "index, uuid, name, pci.bus_id, compute_cap, memory.total, memory.reserved, power.draw"
    row = f"0, {UUID}, NVIDIA H100 80GB HBM3, 00000000:00:06.0, 9.0, 81559, 480, 76.46"
    (tmp_path / "gpus.csv").write_text(f"{fields}\n{row}\n")
    captured = IDLE["commands"][name]
    status = stand_in.main(shlex.split(captured["command"])[1:])
    assert (status, capsys.readouterr().out) == (captured["status"], captured["out"])
