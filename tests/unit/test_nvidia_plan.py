"""Which driver a host gets, and what the host's own program refuses: pure parts of the nvidia role."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from posixpath import dirname
from types import ModuleType

import pytest

from roles.cards import PciDevice, module_kind
from roles.driver_packages import is_drivers, kernel_headers
from roles.host_programs import load
from roles.nvidia.facts import ANSWERED, Versions, is_installed, parse_versions, to_be_held
from roles.nvidia.operations import UNLOAD, reload_command
from roles.nvidia.plan import driver_plan, obstacle, reason_to_reload
from roles.nvidia.settings import NvidiaSettings
from roles.settings import SettingsError
from roles.site import site_from

H100, P100, B200 = (PciDevice(f"0000:{n}:00.0", d, 0x0302, "") for n, d in ((1, 0x2330), (2, 0x15F8), (3, 0x2901)))
PORT = PciDevice("0000:50:00.0", 0x1021, 0x0207, "mlx5_core")
UNKNOWN, SWITCH = PciDevice("0000:04:00.0", 0x3FFF, 0x0302, ""), PciDevice("0000:05:00.0", 0x22A3, 0x0680, "")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/nvidia/host/install-driver"))


@pytest.mark.parametrize(
    ("devices", "expected"),
    [([H100], "open"), ([B200], "open"), ([UNKNOWN], "open"), ([P100], "proprietary"), ([H100, P100], "proprietary")],
)
def test_the_kind_of_modules_follows_the_oldest_card(devices: list[PciDevice], expected: str) -> None:
    assert module_kind(devices, "auto") == expected
    assert module_kind(devices, "open") == "open"


def test_a_host_with_nvswitches_gets_the_fabric_manager_and_others_do_not() -> None:
    assert "nvidia-fabricmanager" in driver_plan("debian", [H100, SWITCH], NvidiaSettings()).packages
    assert "nvidia-fabricmanager" not in driver_plan("debian", [H100], NvidiaSettings()).packages


def test_nvlink_5_needs_the_subnet_manager_beside_a_fabric_manager_of_the_drivers_version() -> None:
    plan = driver_plan("debian", [B200, PORT], NvidiaSettings())
    assert "nvidia-fabricmanager" in plan.packages
    assert "libnvidia-nscq" not in plan.packages, "it speaks to switches on the bus"
    assert plan.beside == ("nvlsm", "infiniband-diags")
    assert driver_plan("debian", [B200], NvidiaSettings()).beside == ()
    there = {name: "580.178.04-1" for name in (*plan.packages, plan.pinning)}
    assert not is_installed(plan, there)
    assert is_installed(plan, {**there, "nvlsm": "2025.12.211-1", "infiniband-diags": "44.0-2"})


def test_ubuntus_names_lose_the_branch_after_580() -> None:
    names = driver_plan("ubuntu", [H100], NvidiaSettings(branch="580")).packages
    assert names == ("nvidia-headless-580-open", "nvidia-utils-580")
    assert driver_plan("ubuntu", [P100], NvidiaSettings(branch="580")).packages[0] == "nvidia-headless-580"
    names = driver_plan("ubuntu", [H100], NvidiaSettings(branch="595")).packages
    assert names == ("nvidia-headless-open", "nvidia-utils")


@pytest.mark.parametrize(
    ("distribution", "kernel", "expected"),
    [
        ("debian", "6.1.0-40-amd64", "linux-headers-amd64"),
        ("debian", "6.1.0-40-cloud-amd64", "linux-headers-cloud-amd64"),
        ("ubuntu", "6.8.0-60-generic", "linux-headers-generic"),
        ("ubuntu", "6.8.0-1030-aws", "linux-headers-aws"),
        ("ubuntu", "", "linux-headers-generic"),
    ],
)
def test_headers_follow_the_flavour_of_the_running_kernel(distribution: str, kernel: str, expected: str) -> None:
    assert kernel_headers(distribution, kernel) == [expected]


def test_a_version_of_another_branch_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(SettingsError, match=r"is not of branch 580; set nvidia.branch too"):
        site_from([{"nvidia": {"version": "595.1.1"}}], {})


def test_loaded_and_installed_are_read_and_compared() -> None:
    seen = parse_versions(["loaded 580.95.05", "installed 1:580.178.04-1 installed", "installed 1-1 config-files"])
    assert seen == Versions("580.95.05", "580.178.04")
    assert seen.reason_to_reload == "driver 580.178.04 is installed, 580.95.05 is loaded"
    flag = ["loaded 580.1", "installed 580.1-1 installed", "asked libc6", "asked libcuda1", "answered libc6"]
    assert parse_versions(flag) == Versions("580.1", "580.1", ("libcuda1",))


@pytest.mark.parametrize(
    ("loaded", "installed", "asked", "expected"),
    [
        ("580.1", "580.2", [], "driver 580.2 is installed, 580.1 is loaded"),
        (None, "580.1", [], "driver 580.1 is installed, none is loaded"),
        (
            "580.1",
            "580.1",
            ["libc6", "nvidia-kernel-open-dkms"],
            "nvidia-kernel-open-dkms asked for a reboot after driver 580.1 was loaded (/run/reboot-required)",
        ),
        ("580.1", "580.1", ["libc6", "linux-image-6.1.0-99-amd64", "nvidia-container-toolkit"], None),
        ("580.1", "580.1", [], None),
        ("580.1", None, ["libc6"], None),
        (None, None, [], None),
    ],
)
def test_each_arm_of_the_three_way_test_and_nothing_else_makes_the_kernel_get_the_driver_anew(
    loaded: str | None, installed: str | None, asked: list[str], expected: str | None
) -> None:
    assert reason_to_reload(loaded, installed, asked) == expected


def test_a_plan_is_met_by_all_packages_at_one_version_with_the_pinning_beside_them() -> None:
    plan = driver_plan("debian", [H100], NvidiaSettings())
    whole = {name: "580.178.04-1" for name in (*plan.packages, plan.pinning)}
    assert is_installed(plan, whole)
    assert not is_installed(plan, {**whole, "nvidia-driver-cuda": "580.182.01-1"})
    assert not is_installed(plan, {k: v for k, v in whole.items() if k != plan.pinning})
    assert not is_installed(driver_plan("debian", [H100], NvidiaSettings(version="580.1.1")), whole)
    assert not is_installed(plan, {})
    assert to_be_held({"a": "580.1-1", "b": "1:580.1-2", "c": "1.19-1"}, "580.1") == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.1", "no module was built"),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", "Secure Boot"),
        ("rmmod: ERROR: Module nvidia is in use", None),
        ("", None),
    ],
)
def test_what_no_reboot_would_cure_is_told_from_what_one_would(said: str, expected: str | None) -> None:
    found = obstacle(said)
    assert found is None if expected is None else expected in (found or "")


def test_a_module_that_is_missing_is_worth_a_reboot_only_into_a_kernel_that_has_it() -> None:
    missing = "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.1"
    assert obstacle(missing, next_kernel="6.1.0-99-amd64") is None
    assert "Secure Boot" in (obstacle("Key was rejected by service", next_kernel="6.1.0-99-amd64") or "")


def test_every_package_gets_the_newest_version_that_all_have(program: ModuleType) -> None:
    text = "a | 580.95.05-1 | http://x Packages\na | 580.178.04-1 | http://x Packages\nb | 580.95.05-1 | y\nb | 595.1-1 | y\n"
    available = program.parse_madison(text)
    assert program.choose(["a", "b"], available, "580", None) == ("580.95.05", ["a=580.95.05-1", "b=580.95.05-1"])
    assert program.choose(["a"], available, "580", None)[0] == "580.178.04"  # numbers, not letters: 178 > 95
    with pytest.raises(program.Refusal, match=r"no b of 580.178.04: the repositories have 580.95.05, 595.1"):
        program.choose(["a", "b"], available, "580", "580.178.04")


SIMULATED = """Remv site-tool [1-1]
Remv nvidia-driver-pinning-580 [580.1-1]
Inst libcuda1 [580.1-1] (595.1-1 NVIDIA:NVIDIA CUDA [amd64]) []
Inst curl [8.0-2] (8.0-1 Debian:12 [amd64])
Conf libcuda1 (595.1-1 NVIDIA:NVIDIA CUDA [amd64])
"""


def test_what_is_not_the_drivers_may_not_be_lost_lowered_or_taken_off_hold(program: ModuleType) -> None:
    removed, placed = program.parse_simulation(SIMULATED)
    assert removed == ["site-tool", "nvidia-driver-pinning-580"]
    assert placed == [("libcuda1", "580.1-1", "595.1-1"), ("curl", "8.0-2", "8.0-1")]
    with pytest.raises(program.Refusal, match="apt would remove site-tool"):
        program.judge(removed, placed, [])
    with pytest.raises(program.Refusal, match="older versions of curl"):
        program.judge(["nvidia-driver-pinning-580"], placed, [])
    with pytest.raises(program.Refusal, match="change curl, which is on hold"):
        program.judge([], [("curl", None, "9")], ["curl"])
    program.judge(["nvidia-driver-pinning-580"], placed[:1], ["libcuda1"])


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("nvidia-smi", True), ("libnvidia-ml1", True), ("libcuda1", True), ("nvidia-fabricmanager", True),
        ("nvidia-container-toolkit", False), ("libnvidia-container1", False), ("curl", False), ("nvidia-cuda-toolkit", False),
    ],
)  # fmt: skip
def test_which_packages_are_the_drivers(program: ModuleType, package: str, expected: bool) -> None:
    assert program.is_drivers(package) is is_drivers(package) is expected


@pytest.mark.parametrize("unload", [0, 1])
@pytest.mark.parametrize(("state", "watched"), [("active", True), ("activating", True), ("inactive", False)])
def test_what_watches_the_cards_makes_way_for_a_reload_and_is_back_if_it_ran(
    tmp_path: Path, state: str, watched: bool, unload: int
) -> None:
    said = tmp_path / "said"
    programs = {
        "systemctl": f'[ "$1" = is-active ] && {{ echo {state}; exit; }}',
        "modprobe": f'[ "$1" != -r ] || exit {unload}',
        "mkdir": "exit 1",  # the answer to a flag is for a host, not for the machine of the tests
    }
    for name, does in programs.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{said}\n{does}\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["sh", "-c", reload_command()], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False)
    daemons, exporter = "nvidia-fabricmanager nvidia-persistenced", "nvidia-dcgm-exporter.service"
    loads = [] if unload else ["modprobe nvidia", "modprobe nvidia-uvm", f"mkdir -p {dirname(ANSWERED)}"]
    assert done.returncode == 0
    assert said.read_text().splitlines() == [
        f"systemctl is-active {exporter}",
        f"systemctl stop {exporter} {daemons}" if watched else f"systemctl stop {daemons}",
        UNLOAD,
        *loads,
        f"systemctl start {daemons} {exporter}" if watched else f"systemctl start {daemons}",
    ]
