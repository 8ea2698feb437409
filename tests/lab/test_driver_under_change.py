"""What happens to a deployed driver between two deploys: upgrades by night, a dpkg that was killed, a kernel, a wish to reboot.

apt, dpkg, unattended-upgrades, its kernel hook and systemd are real; kernels, card and modules are played. Every test finds the
host with the driver OLD loaded and held, and leaves it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import Host, mirrored, pretend_gpu
from tests.lab.deployments import Operator, Result

pytestmark = pytest.mark.lab
OLD, NEW = "580.178.04", "580.182.01"
BLACKLIST = "/etc/apt/apt.conf.d/52llm-nvidia"
# What a site writes that wants everything upgraded by night, third parties included.
EVERY_ORIGIN = 'Unattended-Upgrade::Origins-Pattern { "origin=*"; };\n'
Deploy = Callable[..., Result]


@pytest.fixture(scope="module")
def deploy(operator: Operator, make_host: Callable[..., Host]) -> Deploy:
    """Preflight, base and driver on the host, with the version OLD unless another is said."""
    key = mirrored.ensure(operator.lab).apt_key_fingerprint

    def run(*settings: str, mode: str = "--yes", playbook: str = "tests/lab/checked_driver.py") -> Result:
        given = ("gpu=nvidia", f"nvidia.key_fingerprint={key}", f"nvidia.version={OLD}", *settings)
        data = [word for setting in given for word in ("--data", setting)]
        return operator.pyinfra("--json", mode, *data, playbook=playbook, hosts=[make_host("change")])

    return run


@pytest.fixture(scope="module")
def host(make_host: Callable[..., Host], deploy: Deploy) -> Host:
    """A host with a card, the driver, and unattended-upgrades that may touch everything."""
    made = make_host("change")
    pretend_gpu.give(made, [pretend_gpu.H100])
    pretend_gpu.put(made, "/etc/apt/apt.conf.d/60site", EVERY_ORIGIN)
    made.ssh("apt-get update -q && apt-get install -y -q --no-install-recommends unattended-upgrades", timeout=600)
    result = deploy()
    assert result.status == 0, result.output
    return made


@pytest.fixture(autouse=True)
def as_it_was(host: Host) -> Iterator[None]:
    yield
    pretend_gpu.computing(host)
    assert (version(host, "nvidia-driver-cuda"), loaded(host)) == (OLD, OLD)


def version(host: Host, package: str) -> str:
    return host.ssh(f"dpkg-query -W -f '${{Version}}' {package}", check=False).stdout.rpartition("-")[0]


def loaded(host: Host) -> str:
    return host.ssh("nvidia-smi --query-gpu=driver_version --format=csv,noheader", check=False).stdout.strip()


def boot(host: Host) -> str:
    return host.ssh("cat /proc/sys/kernel/random/boot_id").stdout


def a_night(host: Host) -> str:
    """Run unattended-upgrades as its timer does; what it said."""
    done = host.ssh("apt-get update -q >/dev/null && unattended-upgrade -v 2>&1", timeout=600)
    assert "Starting unattended upgrades script" in done.stdout
    return done.stdout


def test_a_night_of_unattended_upgrades_leaves_the_driver_alone(host: Host, deploy: Deploy) -> None:
    offered = host.ssh("apt-cache madison nvidia-driver-cuda").stdout
    assert NEW in offered
    a_night(host)
    assert version(host, "nvidia-driver-cuda") == loaded(host) == OLD
    assert deploy().changed == []


@pytest.mark.parametrize("left", ["hold", "blacklist"])
def test_either_of_hold_and_blacklist_is_enough(host: Host, deploy: Deploy, left: str) -> None:
    if left == "hold":
        host.ssh(f"rm {BLACKLIST}")
    else:
        host.ssh("apt-mark unhold $(apt-mark showhold) >/dev/null")
    a_night(host)
    assert version(host, "nvidia-driver-cuda") == OLD
    assert deploy().status == 0  # puts back what is missing
    assert "nvidia-driver-cuda" in host.ssh("apt-mark showhold").stdout
    assert "nvidia-" in host.ssh(f"cat {BLACKLIST}").stdout


def test_without_both_a_night_breaks_the_driver_and_the_next_deploy_heals_it(host: Host, deploy: Deploy) -> None:
    """The control: such a night is one that would have moved the driver."""
    host.ssh(f"rm {BLACKLIST}; apt-mark unhold $(apt-mark showhold) >/dev/null")
    said = a_night(host)
    assert version(host, "nvidia-driver-cuda") == NEW, said
    assert "version mismatch" in loaded(host)
    healed = deploy()
    assert healed.status == 0, healed.output
    assert "nvidia-driver-cuda" in host.ssh("apt-mark showhold").stdout


HANG = "/etc/systemd/system/nvidia-persistenced.service.d/hang.conf"


def test_a_deploy_whose_dpkg_was_killed_is_refused_until_its_remedy_was_typed(host: Host, deploy: Deploy) -> None:
    """The restart in a postinst hangs, and somebody loses patience: apt and dpkg are killed in the middle of the driver."""
    pretend_gpu.put(host, HANG, "[Service]\nExecStartPre=/bin/sleep 600\nTimeoutStartSec=900\n")
    packages = "nvidia-kernel-open-dkms nvidia-driver-cuda nvidia-persistenced"
    host.ssh(
        "systemctl daemon-reload; systemctl stop nvidia-persistenced; "
        f"nohup /usr/local/lib/llm/install-driver --branch 580 --version {NEW} --pinning nvidia-driver-pinning-580 {packages} "
        ">/root/install.log 2>&1 </dev/null & "
        "for i in $(seq 600); do pgrep -f '[n]vidia-persistenced.postinst'  >/dev/null && exit; sleep 0.1; done; exit 1",
        timeout=120,
    )
    host.ssh(
        "pkill -KILL -f '[i]nstall-driver'; pkill -KILL apt-get; pkill -KILL dpkg; pkill -KILL -f '[p]ersistenced.postinst'"
    )
    host.ssh(f"rm {HANG}; systemctl daemon-reload; systemctl stop nvidia-persistenced")
    before = host.ssh("dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; cat /etc/apt/sources.list.d/*").stdout
    assert "half-configured" in before
    assert "install ok unpacked" in before or "hold ok unpacked" in before

    refused = deploy(f"nvidia.version={NEW}")
    assert refused.status == 1
    assert "refused, nothing was changed" in refused.output
    assert "dpkg has unfinished work: " in refused.output
    assert "nvidia-persistenced" in refused.output
    assert "-> dpkg --configure -a on the host, then: apt-get -f install" in refused.output
    assert (
        host.ssh("dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; cat /etc/apt/sources.list.d/*").stdout
        == before
    )

    host.ssh("dpkg --configure -a && apt-get -f -y install", timeout=120)
    finished = deploy(f"nvidia.version={NEW}")
    assert finished.status == 0, finished.output
    assert version(host, "nvidia-driver-cuda") == loaded(host) == NEW
    assert deploy().status == 0
