"""The driver on a board with B200, whose NVSwitches are reached through ports on the bus: fabric manager and subnet manager.

The fabric manager's stand-in refuses to run beside another driver, without `ibstat` or without the subnet manager, as the real one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host, mirrored, pretend_gpu
from lab.mirror.driver_packages import SUBNET_MANAGER_VERSION
from tests.lab.deployments import Operator, Result

pytestmark = [pytest.mark.lab, pytest.mark.slow]
OLD, NEW = "580.178.04", "580.182.01"
FABRIC = "nvidia-fabricmanager"


@pytest.fixture(scope="module")
def board(make_host: Callable[..., Host]) -> Host:
    host = make_host("board")
    pretend_gpu.give(host, [pretend_gpu.B200] * 2, switch_ports=2)
    return host


@pytest.fixture(scope="module")
def deploy(operator: Operator, board: Host) -> Callable[[str], Result]:
    key = mirrored.ensure(operator.lab).apt_key_fingerprint

    def run(version: str) -> Result:
        given = ("gpu=nvidia", f"nvidia.key_fingerprint={key}", f"nvidia.version={version}")
        data = [word for setting in given for word in ("--data", setting)]
        return operator.pyinfra("--json", "--yes", *data, playbook="tests/lab/checked_driver.py", hosts=[board])

    return run


def package(host: Host, name: str) -> str:
    return host.ssh(f"dpkg-query -W -f '${{db:Status-Status}} ${{Version}}' {name}", check=False).stdout


def fabric(host: Host) -> tuple[str, str]:
    """Whether the fabric manager runs, and which one started last."""
    state = host.ssh(f"systemctl is-active {FABRIC}", check=False).stdout.strip()
    said = host.ssh(f"journalctl -u {FABRIC} -o cat --no-pager | grep stand-in | tail -n 1").stdout.split()
    return state, said[2] if len(said) > 2 else ""


def test_a_board_gets_a_fabric_manager_of_the_drivers_version_and_the_subnet_manager(
    board: Host, deploy: Callable[[str], Result]
) -> None:
    first = deploy(OLD)
    assert first.status == 0, first.output
    assert "[15b3:1021] at 0000:50:00.0 leads to NVSwitches" in first.output
    assert package(board, FABRIC) == f"installed {OLD}-1"
    assert package(board, "nvlsm") == f"installed {SUBNET_MANAGER_VERSION}"
    assert package(board, "libnvidia-nscq") == ""
    assert fabric(board) == ("active", OLD)
    assert board.ssh("pgrep -f /opt/nvidia/nvlsm/sbin/[n]vlsm || pgrep -f '[s]leep infinity'").stdout
    assert FABRIC in board.ssh("apt-mark showhold").stdout.split()
    assert deploy(OLD).changed == []


def test_another_driver_brings_its_own_fabric_manager_which_makes_way_for_the_reload(
    board: Host, deploy: Callable[[str], Result]
) -> None:
    boot = board.ssh("cat /proc/sys/kernel/random/boot_id").stdout
    result = deploy(NEW)
    assert result.status == 0, result.output
    assert package(board, FABRIC) == f"installed {NEW}-1"
    assert package(board, "nvlsm") == f"installed {SUBNET_MANAGER_VERSION}"
    assert fabric(board) == ("active", NEW)
    assert board.ssh("cat /proc/sys/kernel/random/boot_id").stdout == boot
    assert deploy(NEW).changed == []


def test_the_fabric_manager_is_back_after_a_reboot(board: Host) -> None:
    board.reboot()
    assert fabric(board) == ("active", NEW)
