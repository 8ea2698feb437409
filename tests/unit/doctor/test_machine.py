"""Diagnoses of the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roles.doctor.case import Case
from roles.doctor.symptoms import Folder
from roles.facts.evidence import App, Health, Xid, parse_evidence
from roles.layout import OLLAMA_VISION, VLLM
from roles.site import site_from
from tests.plan.fake_machines import DRIVER, ONE_H100, Machine
from tests.unit.doctor.cases import DOWN, GB, ROOM, UP, WELL, found, vllm_says, with_seen, with_unit

UUID = WELL.machine.cards[0].uuid
MISMATCH = {"status": 18, "out": "Failed to initialize NVML: Driver/library version mismatch\n", "err": ""}


def on(machine: Machine, case: Case = WELL) -> Case:
    return replace(case, machine=parse_evidence(machine.evidence()))


def with_apps(*apps: App, case: Case = WELL) -> Case:
    return replace(case, machine=replace(case.machine, apps=apps))


def test_a_driver_upgraded_under_the_running_module() -> None:
    installed = f"libnvidia-compute\t{DRIVER}-1\tii \n"
    old = replace(ONE_H100.with_driver("580.1.1", packages=installed), smi=MISMATCH)
    one = found(on(old))["driver-mismatch"]
    assert one.certainty == "certain"
    assert f"the kernel runs 580.1.1; the libraries are {DRIVER}" in one.evidence
    assert "deploy.py -y --limit gpu-01" in one.remedy
    no_message = found(on(ONE_H100.with_driver("580.1.1", packages=installed)))
    assert "driver-mismatch" in no_message, "before anybody has asked nvidia-smi"


def test_a_kernel_without_the_module() -> None:
    said = {
        "status": 9,
        "out": "",
        "err": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    }
    one = found(on(replace(ONE_H100, smi=said)))["driver-not-loaded"]
    assert any("kernel" in line for line in one.evidence)
    assert any("couldn't communicate" in line for line in one.evidence)


def test_a_driver_that_says_something_else() -> None:
    said = {"status": 255, "out": "Unable to determine the device handle for GPU0: Unknown Error", "err": ""}
    assert "nvidia-smi-fails" in found(on(replace(ONE_H100.with_driver(), smi=said)))


def test_no_driver_is_looked_for_where_the_processor_serves() -> None:
    cpu = replace(WELL, site=site_from([{"gpu": "none"}], {}))
    assert found(on(replace(ONE_H100, smi=MISMATCH), cpu)) == {}


def test_cards_that_have_reported_a_fault() -> None:
    fallen = Xid("0000:17:00", 79, "GPU has fallen off the bus.")
    harmless = Xid("0000:17:00", 13, "Graphics Engine Exception")
    pending = Health(UUID, remap_pending=True, remap_failed=False, uncorrected=3)
    names = found(replace(WELL, machine=replace(WELL.machine, xids=(fallen, harmless), health=(pending,))))
    assert names["card-fault"].evidence == ("XID 79 at 0000:17:00: GPU has fallen off the bus.",)
    assert names["card-memory"].evidence == (f"{UUID}: 3 uncorrected errors",)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("disk-full", replace(ROOM, free=300_000_000)),
        ("disk-no-inodes", replace(ROOM, inodes_free=10)),
        ("disk-read-only", replace(ROOM, read_only=True)),
    ],
)
def test_disks(name: str, folder: Folder) -> None:
    one = found(with_seen(folders={"/": folder, "/tmp": folder}))[name]
    assert one.evidence[0].startswith("/, /tmp: ")


def test_a_small_disk_with_room_is_not_full_and_one_without_inodes_to_count_has_them() -> None:
    small = Folder(1, 8 * GB, 1 * GB, 0, 0, False)
    assert found(with_seen(folders={"/": small})) == {}


def test_what_a_service_said_of_a_full_disk_is_evidence() -> None:
    case = with_unit(OLLAMA_VISION, UP, "write /var/lib/x: No space left on device")
    one = found(with_seen(case, folders={"/": replace(ROOM, free=0)}))["disk-full"]
    assert "ollama-vision: No space left on device" in one.evidence


@pytest.mark.parametrize(("ahead", "synchronised", "certainty"), [(-400.0, False, "certain"), (9000.0, None, "likely")])
def test_a_clock_that_is_wrong(ahead: float, synchronised: bool | None, certainty: str) -> None:
    one = found(replace(with_seen(synchronised=synchronised), clock_ahead_s=ahead))["clock-skew"]
    assert one.certainty == certainty
    assert one.evidence[0] == (
        "the host's clock is 7 min behind the controller's"
        if ahead < 0
        else "the host's clock is 2.5 h before the controller's"
    )


def test_a_slow_connection_is_no_wrong_clock() -> None:
    assert found(replace(with_seen(synchronised=False), clock_ahead_s=3.0)) == {}


def test_the_hosts_own_memory() -> None:
    ended = with_unit(VLLM, replace(UP, active="failed", result="oom-kill"))
    assert f"{VLLM}: ended by the kernel for want of memory" in found(ended)["out-of-memory"].evidence
    killed = "Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:1kB"
    assert found(with_seen(kernel=(killed,)))["out-of-memory"].certainty == "likely"
    assert "memory-low" in found(with_seen(memory_available=1 * GB))
    own = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-4f.scope,task=python3,pid=7"
    assert found(with_seen(kernel=(own,))) == {}, "a container at a limit of its own"


def test_what_a_killed_server_left_on_a_card_is_found_by_pid() -> None:
    orphan = App(UUID, 812, "VLLM::EngineCore", 71_000, "")
    one = found(with_apps(orphan, case=vllm_says("x")))["orphans-on-cards"]
    assert one.certainty == "certain"
    assert one.evidence == ("card 0: VLLM::EngineCore (pid 812) holds 71000 MiB",)
    assert "kill -9 812; systemctl restart vllm.service" in one.remedy
    phase_1 = replace(with_apps(orphan), status={"serving": 1, "recorded": 1, "next_boot": [1]})
    assert "systemctl restart ollama-text.service" in found(phase_1)["orphans-on-cards"].remedy


def test_what_is_left_in_the_group_of_a_unit_that_is_down_is_an_orphan_too() -> None:
    child = App(UUID, 812, "python3", 71_000, VLLM)
    assert "orphans-on-cards" in found(with_apps(child, case=with_unit(VLLM, DOWN)))


@pytest.mark.parametrize("unit", [VLLM, OLLAMA_VISION, "docker-4f.scope", "training.service"])
def test_a_process_of_a_unit_or_a_container_is_no_orphan(unit: str) -> None:
    assert found(with_apps(App(UUID, 812, "python3", 71_000, unit))) == {}


def test_others_on_the_cards_are_named_only_where_vllm_does_not_run() -> None:
    other = App(UUID, 99, "blender", 20_000, "session-3.scope")
    assert "strangers-on-cards" in found(with_apps(other, case=with_unit(VLLM, DOWN)))
    assert found(with_apps(other)) == {}
