"""The nvidia role on a real host: real apt and dpkg, packages with the true names, a card and a kernel module that are played.

Every test brings the host to where it starts from and leaves it in branch 580, loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from lab import Host, mirrored, pretend_gpu
from tests.lab.deployments import Operator, Result
from tests.lab.driver_probes import boot, loaded, version
from tests.lab.test_refusals import mirror_fault

pytestmark = [pytest.mark.lab, pytest.mark.slow]
OLD, NEW, NEXT = "580.178.04", "580.182.01", "595.91.07"
Deploy = Callable[..., Result]


@pytest.fixture(scope="module")
def card(make_host: Callable[..., Host]) -> Host:
    """A host with an H100 and no driver."""
    host = make_host("card")
    pretend_gpu.give(host, [pretend_gpu.H100])
    return host


@pytest.fixture(scope="module")
def deploy(operator: Operator, card: Host) -> Deploy:
    """The nvidia role on that host; words are further settings."""
    key = mirrored.ensure(operator.lab).apt_key_fingerprint

    def run(*settings: str, mode: str = "--yes", playbook: str = "tests/lab/only_driver.py") -> Result:
        data = [
            word
            for setting in ("gpu=nvidia", f"nvidia.key_fingerprint={key}", *settings)
            for word in ("--data", setting)
        ]
        return operator.pyinfra("--json", mode, *data, playbook=playbook, hosts=[card])

    return run


@pytest.fixture(autouse=True)
def idle(card: Host) -> Iterator[None]:
    yield
    pretend_gpu.faults(card)
    pretend_gpu.computing(card)


def test_a_bare_host_gets_the_driver_loaded_and_held_without_a_reboot_and_a_second_run_changes_nothing(
    card: Host, deploy: Deploy
) -> None:
    before = boot(card)
    first = deploy(f"nvidia.version={OLD}")
    assert first.status == 0, first.output
    assert version(card, "nvidia-driver-cuda") == loaded(card) == OLD
    assert version(card, "nvidia-kernel-open-dkms") == OLD
    held = card.ssh("apt-mark showhold").stdout.split()
    assert {"nvidia-driver-cuda", "nvidia-kernel-open-dkms", "libcuda1", "nvidia-driver-pinning-580"} - {*held} <= {
        "nvidia-driver-pinning-580"
    }
    assert card.ssh("systemctl is-active nvidia-persistenced").stdout.strip() == "active"
    assert boot(card) == before
    assert deploy(f"nvidia.version={OLD}").changed == []
    # Without a version the one that is there stays, although the branch has a newer one.
    assert deploy().changed == []


def test_the_driver_is_loaded_after_a_reboot_too(card: Host, deploy: Deploy) -> None:
    card.reboot()
    assert loaded(card) == OLD
    assert deploy().changed == []


def test_apt_and_unattended_upgrades_leave_the_driver_alone(card: Host) -> None:
    card.ssh("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get -y -q dist-upgrade", timeout=600)
    assert version(card, "nvidia-driver-cuda") == OLD
    listed = card.ssh("apt-config dump Unattended-Upgrade::Package-Blacklist").stdout
    assert '"nvidia-"' in listed
    assert '"libnvidia-"' in listed


def test_an_upgrade_within_the_branch_is_made_when_asked_for_and_healed_by_a_reload(card: Host, deploy: Deploy) -> None:
    before = boot(card)
    result = deploy(f"nvidia.version={NEW}")
    assert result.status == 0, result.output
    assert version(card, "nvidia-driver-cuda") == version(card, "libcuda1") == loaded(card) == NEW
    assert boot(card) == before
    assert deploy(f"nvidia.version={NEW}").changed == []


def test_a_busy_card_gets_the_new_driver_by_a_reboot(card: Host, deploy: Deploy) -> None:
    before = boot(card)
    pretend_gpu.computing(card, (812, "python3", 2000))
    result = deploy(f"nvidia.version={OLD}")
    assert result.status == 0, result.output
    assert loaded(card) == OLD
    assert boot(card) != before


def test_without_leave_to_reboot_the_run_ends_with_an_outcome_that_machines_can_read(
    card: Host, deploy: Deploy
) -> None:
    before = boot(card)
    pretend_gpu.computing(card, (812, "python3", 2000))
    result = deploy(f"nvidia.version={NEW}", "nvidia.reboot=ask-later")
    assert result.status == 1
    assert result.failed == ["NVIDIA | Have the installed driver loaded"]
    line = next(line for line in result.output.splitlines() if line.startswith("outcome "))
    assert f"host={card.name} result=reboot-needed" in line
    outcome = json.loads(card.ssh("cat /var/lib/llm/outcome.json").stdout)
    assert outcome["outcome"] == "reboot-needed"
    assert f"driver {NEW} is installed, {OLD} is loaded" in outcome["reason"]
    assert boot(card) == before
    assert "version mismatch" in loaded(card)

    card.reboot()
    again = deploy(f"nvidia.version={NEW}", "nvidia.reboot=ask-later")
    assert again.status == 0, again.output
    assert loaded(card) == NEW
    assert card.ssh("test -e /var/lib/llm/outcome.json", check=False).returncode == 1


def test_another_branch_and_back_again_pinning_first(card: Host, deploy: Deploy) -> None:
    up = deploy("nvidia.branch=595")
    assert up.status == 0, up.output
    assert version(card, "nvidia-driver-cuda") == loaded(card) == NEXT
    assert version(card, "nvidia-driver-pinning-580") == ""
    assert deploy("nvidia.branch=595").changed == []
    down = deploy(f"nvidia.version={OLD}")
    assert down.status == 0, down.output
    assert version(card, "nvidia-driver-cuda") == loaded(card) == OLD
    assert "nvidia-driver-cuda" in card.ssh("apt-mark showhold").stdout


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("nvidia.version=580.1.1",), "no nvidia-kernel-open-dkms of 580.1.1: the repositories have 580.178.04"),
        (("nvidia.branch=599",), "the repositories have no nvidia-driver-pinning-599"),
    ],
)
def test_a_driver_that_nobody_offers_is_refused_and_nothing_moves(
    card: Host, deploy: Deploy, settings: tuple[str, ...], expected: str
) -> None:
    before = card.ssh("dpkg-query -W").stdout
    result = deploy(*settings)
    assert result.status == 1
    assert expected in result.output
    assert card.ssh("dpkg-query -W").stdout == before


def test_a_foreign_package_that_a_new_driver_would_remove_is_named_and_kept(card: Host, deploy: Deploy) -> None:
    needs_old(card, "site-cuda-tool", OLD)
    try:
        result = deploy(f"nvidia.version={NEW}")
        assert result.status == 1
        assert "apt would remove site-cuda-tool" in result.output
        assert version(card, "nvidia-driver-cuda") == loaded(card) == OLD
    finally:
        card.ssh("dpkg --purge site-cuda-tool")


def needs_old(host: Host, name: str, driver: str) -> None:
    """Install a package of the site's own that depends on exactly this driver."""
    control = (
        f"Package: {name}\nVersion: 1-1\nArchitecture: all\nMaintainer: site <root@localhost>\n"
        f"Depends: libcuda1 (= {driver}-1)\nDescription: a tool of the site\n"
    )
    host.ssh(f"mkdir -p /root/{name}/DEBIAN; cat > /root/{name}/DEBIAN/control", stdin=control)
    host.ssh(f"cd /root && dpkg-deb --build {name} >/dev/null && dpkg -i {name}.deb")


def test_unfinished_work_of_dpkg_is_named_with_its_remedy(card: Host, deploy: Deploy) -> None:
    needs_old(card, "half-done", OLD)
    card.ssh(
        "sed -i '/^Package: half-done$/,/^$/s/^Status:.*/Status: install ok half-configured/' /var/lib/dpkg/status"
    )
    try:
        result = deploy(f"nvidia.version={NEW}", playbook="tests/lab/checked_driver.py")
        assert result.status == 1
        assert "dpkg has unfinished work: half-done" in result.output
        assert "dpkg --configure -a" in result.output
        assert version(card, "nvidia-driver-cuda") == OLD
    finally:
        card.ssh("dpkg --configure -a; dpkg --purge half-done")


def test_a_package_that_was_tampered_with_is_not_installed(operator: Operator, card: Host, deploy: Deploy) -> None:
    card.ssh("apt-get clean")
    path = f"/apt/cuda/repos/debian12/x86_64/./nvidia-smi_{NEW}"  # as apt asks: the index names it so
    with mirror_fault(operator, {"path": path, "corrupt_at": 200}):
        result = deploy(f"nvidia.version={NEW}")
    assert result.status == 1
    assert "Hash Sum mismatch" in result.output
    assert version(card, "nvidia-driver-cuda") == loaded(card) == OLD
    assert deploy(f"nvidia.version={OLD}").status == 0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("no-headers", "no module was built for the running kernel"), ("key-rejected", "Secure Boot")],
)
def test_a_module_that_cannot_load_is_explained_and_costs_no_reboot(
    card: Host, deploy: Deploy, fault: str, expected: str
) -> None:
    before = boot(card)
    card.ssh("systemctl stop nvidia-persistenced; modprobe -r nvidia")
    pretend_gpu.faults(card, fault)
    result = deploy()
    assert result.status == 1
    assert expected in result.output
    assert boot(card) == before
    pretend_gpu.faults(card)
    assert deploy().status == 0
    assert loaded(card) == OLD
