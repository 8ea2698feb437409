"""Evidence about a machine: every parser with what its tool or file says. Sources of the texts: fixtures/evidence/README.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roles.driver_version import driver_version
from roles.facts.evidence import (
    SCRIPT,
    App,
    Health,
    parse_apps,
    parse_cards,
    parse_evidence,
    parse_headers,
    parse_health,
    parse_packages,
    parse_unattended,
    parse_xids,
    secure_boot,
    smi_failure,
    special_platform,
)
from tests.plan.fake_machines import TEXTS

FIXTURES = Path(__file__).parent / "fixtures" / "evidence"


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def test_every_fixture_says_where_it_comes_from() -> None:
    told = text("README.md")
    assert [file.name for file in FIXTURES.iterdir() if file.name != "README.md" and file.name not in told] == []


def test_cards_of_two_kinds_one_cut_into_slices() -> None:
    h100, p100, a100 = parse_cards(text("cards.csv"))
    assert (h100.index, h100.name, h100.capability, h100.memory_total) == (0, "NVIDIA H100 80GB HBM3", 9.0, 81559)
    assert (p100.mig, a100.mig, h100.mig) == (None, True, False)
    assert p100.capability == 6.0
    assert not p100.persistent


@pytest.mark.parametrize("said", ["", "No devices were found\n", "[Unknown Error], x, y, z, [GPU is lost], , , , \n"])
def test_what_is_no_card_is_left_out(said: str) -> None:
    assert parse_cards(said) == []


def test_why_nvidia_smi_lists_nothing_is_told_in_its_own_words() -> None:
    mismatch = text("smi-mismatch.txt")
    assert smi_failure({"status": 18, "out": mismatch, "err": ""}).startswith(
        "Failed to initialize NVML: Driver/library"
    )
    assert "couldn't communicate" in smi_failure({"status": 9, "out": text("smi-no-driver.txt"), "err": ""})
    assert smi_failure({"status": 127, "out": "", "err": ""}) == ""
    assert smi_failure({"status": 6, "out": "", "err": ""}) == "nvidia-smi ended with status 6"


def test_a_pending_remap_is_seen_and_a_card_without_the_feature_is_healthy() -> None:
    assert parse_health("GPU-1, Yes, No, 4\nGPU-2, [N/A], [N/A], [N/A]\n") == [
        Health("GPU-1", True, False, 4),
        Health("GPU-2", False, False, 0),
    ]


def test_a_process_on_a_card_is_told_with_its_unit() -> None:
    cgroups = "812 0::/system.slice/train.service \n900 0::/user.slice/user-0.slice/session-1.scope \n"
    apps = parse_apps("GPU-1, 812, python3, 2048\nGPU-1, 900, ollama, [N/A]\nGPU-1, [N/A], x, 1\n", cgroups)
    assert apps[0] == App("GPU-1", 812, "python3", 2048, "train.service")
    assert str(apps[0]) == "python3 (pid 812, train.service)"
    assert (apps[1].memory, apps[1].unit, len(apps)) == (0, "session-1.scope", 2)


@pytest.mark.parametrize("file", ["proc-driver-nvidia-version-open.txt", "proc-driver-nvidia-version.txt"])
def test_the_loaded_driver_is_read_from_either_kind_of_module(file: str) -> None:
    assert driver_version(text(file)) in ("580.95.05", "535.183.01")
    assert driver_version("") == ""


def test_xids_are_told_with_card_code_and_words() -> None:
    lost, other = parse_xids(text("kernel-xid.txt"))
    assert (lost.address, lost.code) == ("0000:17:00", 79)
    assert "fallen off the bus" in lost.text
    assert other.code == 31


def test_packages_that_are_half_configured_or_removed_are_not_installed() -> None:
    packages = parse_packages("a\t1.0\tii \nb\t2.0\tiF \nc\t3.0\trc \nd\t4\thi \ne\t\tun \nnonsense\n")
    assert {package.name: package.installed for package in packages} == {"a": True, "b": False, "c": False, "d": True}


def test_headers_are_there_where_apt_has_a_candidate() -> None:
    offered = "linux-headers-6.1.0-40-amd64:\n  Installed: (none)\n  Candidate: 6.1.153-1\n  Version table:\n     6.1.153-1 500\n"
    gone = (
        "linux-headers-6.1.0-25-amd64:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n     6.1.106-3 -1\n"
    )
    assert parse_headers(gone + offered) == ["6.1.0-40-amd64"]
    assert parse_headers("") == []


def test_what_unattended_upgrades_leaves_alone() -> None:
    assert parse_unattended(text("apt-config-unattended.txt")) == ["nvidia-", "libnvidia-"]


@pytest.mark.parametrize(
    ("efi", "variable", "expected"),
    [(False, "", None), (True, "0600000001", True), (True, "0600000000", False), (True, "", False)],
)
def test_secure_boot_is_the_fifth_byte_of_the_variable(efi: bool, variable: str, expected: bool | None) -> None:
    assert secure_boot(efi, variable) is expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ""),
        ({"proc_version": text("proc-version-wsl.txt")}, "WSL"),
        ({"tegra": "# R36 (release), REVISION: 4.0"}, "Jetson"),
        ({"device_tree": "NVIDIA Jetson AGX Orin Developer Kit"}, "Jetson"),
        ({"gridd": "ServerAddress="}, "vGPU guest"),
        ({"virtualization": "    Virtualization Mode               : VGPU"}, "vGPU guest"),
        ({"virtualization": "    Virtualization Mode               : Pass-Through"}, ""),
    ],
)
def test_platforms_that_the_generic_driver_would_harm(changed: dict[str, str], expected: str) -> None:
    assert special_platform({**dict.fromkeys(TEXTS, ""), **changed}) == expected


def test_the_script_runs_on_this_very_machine_and_its_answer_is_read() -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    raw = json.loads(done.stdout)
    assert set(raw["texts"]) == set(TEXTS)
    assert parse_evidence(raw).kernel != ""
