"""What happens to a deployed driver between two deploys: upgrades by night, a dpkg that was killed, a kernel, a wish to reboot.

apt, dpkg, unattended-upgrades, its kernel hook and systemd are real; kernels, card and modules are played. Every test finds the
host with the driver OLD loaded and held, and leaves it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import Host, mirrored, pretend_gpu, pretend_kernels
from tests.lab.deployments import Operator, Result
from tests.lab.driver_probes import boot, loaded, version

pytestmark = [pytest.mark.lab, pytest.mark.slow]
OLD, NEW = "580.178.04", "580.182.01"
RUNNING, NEWER, NEWEST, LAST = (f"6.1.0-{number}-amd64" for number in (80, 90, 99, 100))
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
    pretend_kernels.offer(made, RUNNING, NEWER, NEWEST, LAST)
    install(made, f"linux-image-{RUNNING}")
    pretend_gpu.give(made, [pretend_gpu.H100])
    pretend_gpu.put(made, "/etc/apt/apt.conf.d/60site", EVERY_ORIGIN)
    install(made, "unattended-upgrades")
    result = deploy()
    assert result.status == 0, result.output
    return made


@pytest.fixture(autouse=True)
def as_it_was(host: Host) -> Iterator[None]:
    yield
    pretend_gpu.computing(host)
    assert (version(host, "nvidia-driver-cuda"), loaded(host)) == (OLD, OLD)


def install(host: Host, *names: str) -> None:
    host.ssh(
        f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {' '.join(names)}", timeout=600
    )


def a_night(host: Host) -> str:
    """Run unattended-upgrades as its timer does; what it said."""
    done = host.ssh("apt-get update -q >/dev/null && unattended-upgrade -v 2>&1", timeout=600)
    assert "Starting unattended upgrades script" in done.stdout
    return done.stdout


def test_a_night_of_unattended_upgrades_leaves_the_driver_alone(host: Host) -> None:
    offered = host.ssh("apt-cache madison nvidia-driver-cuda").stdout
    assert NEW in offered
    a_night(host)
    assert version(host, "nvidia-driver-cuda") == loaded(host) == OLD


@pytest.mark.parametrize("left", ["hold", "blacklist"])
def test_either_of_hold_and_blacklist_is_enough(host: Host, left: str) -> None:
    without, again = {
        "hold": (f"mv {BLACKLIST} /root", f"mv /root/52llm-nvidia {BLACKLIST}"),
        "blacklist": (
            "apt-mark showhold > /root/held; apt-mark unhold $(cat /root/held)",
            "apt-mark hold $(cat /root/held)",
        ),
    }[left]
    host.ssh(without)
    a_night(host)
    assert version(host, "nvidia-driver-cuda") == OLD
    host.ssh(again)


def test_without_both_a_night_breaks_the_driver_and_the_next_deploy_heals_it(host: Host, deploy: Deploy) -> None:
    """The control: such a night is one that would have moved the driver."""
    host.ssh(f"rm {BLACKLIST}; apt-mark unhold $(apt-mark showhold) >/dev/null")
    said = a_night(host)
    assert version(host, "nvidia-driver-cuda") == NEW, said
    assert "version mismatch" in loaded(host)
    healed = deploy()
    assert healed.status == 0, healed.output
    assert "nvidia-driver-cuda" in host.ssh("apt-mark showhold").stdout
    assert "nvidia-" in host.ssh(f"cat {BLACKLIST}").stdout


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


# Kernels. RUNNING has been there from the start; the test host has no other when it is first deployed.


def test_a_new_kernel_is_told_and_costs_no_reboot_and_after_one_the_driver_is_loaded(
    host: Host, deploy: Deploy
) -> None:
    before = boot(host)
    install(host, f"linux-image-{NEWER}", f"linux-headers-{NEWER}")
    assert host.ssh("cat /run/reboot-required.pkgs").stdout.split() == [f"linux-image-{NEWER}"]
    result = deploy()
    assert result.status == 0, result.output
    assert f"{RUNNING} runs, {NEWER} is installed" in result.output
    assert f"linux-image-{NEWER} asked for one (/run/reboot-required); a deploy makes none for that" in result.output
    assert result.changed == []
    assert boot(host) == before, "the driver runs; the kernel is the operator's to boot"

    host.reboot()
    assert host.ssh("uname -r").stdout.strip() == NEWER
    assert loaded(host) == OLD
    assert deploy().changed == []


def test_a_kernel_without_headers_is_found_before_its_boot_and_its_remedy_brings_the_driver(
    host: Host, deploy: Deploy
) -> None:
    install(host, f"linux-image-{NEWEST}")
    looked = deploy(mode="--dry", playbook="preflight.py")
    assert f"{NEWER} runs, {NEWEST} is installed" in looked.output
    assert f"-> apt-get install linux-headers-{NEWEST} on the host, then systemctl reboot" in looked.output

    host.reboot()  # somebody did not read it
    assert "couldn't communicate" in loaded(host)
    before = boot(host)
    result = deploy()  # the role installs what a repository has
    assert result.status == 0, result.output
    assert "NVIDIA | Have the running kernel's headers too, where they are offered" in result.changed
    assert loaded(host) == OLD
    assert boot(host) == before


def test_headers_that_nobody_offers_are_named_with_a_way_out_and_cost_no_reboot(host: Host, deploy: Deploy) -> None:
    host.ssh(f"mv {pretend_kernels.SOURCE} /root/kernels.list; apt-get update -q; dpkg --purge linux-headers-{NEWEST}")
    host.ssh("systemctl stop nvidia-persistenced; modprobe -r nvidia")
    before = boot(host)
    result = deploy()
    assert result.status == 1
    assert f"no repository has linux-headers-{NEWEST}" in result.output
    assert "apt-get install linux-image-amd64 linux-headers-amd64, then systemctl reboot" in result.output
    assert "no module was built for the running kernel" in result.output
    assert boot(host) == before
    host.ssh(f"mv /root/kernels.list {pretend_kernels.SOURCE}; apt-get update -q")
    healed = deploy()
    assert healed.status == 0, healed.output


def test_a_kernel_that_has_the_modules_is_booted_where_the_running_one_cannot_have_them(
    host: Host, deploy: Deploy
) -> None:
    install(host, f"linux-image-{LAST}", f"linux-headers-{LAST}")
    host.ssh(f"mv {pretend_kernels.SOURCE} /root/kernels.list; apt-get update -q; dpkg --purge linux-headers-{NEWEST}")
    host.ssh("systemctl stop nvidia-persistenced; modprobe -r nvidia")
    told = f"driver {OLD} is installed, none is loaded; kernel {LAST}, which the next boot brings, has its modules"
    before = boot(host)
    result = deploy()
    assert result.status == 0, result.output
    assert f"{told}; rebooting" in result.output
    assert boot(host) != before
    assert host.ssh("uname -r").stdout.strip() == LAST


# The distribution's reboot flag.


def ask_for_a_reboot(host: Host, *names: str) -> None:
    """As the postinst of a package does (/usr/share/update-notifier/notify-reboot-required, kernel hooks)."""
    host.ssh(
        "touch /run/reboot-required; cat >> /run/reboot-required.pkgs", stdin="".join(f"{name}\n" for name in names)
    )


def test_a_flag_of_other_packages_is_told_and_followed_by_nobody(host: Host, deploy: Deploy) -> None:
    before = boot(host)
    ask_for_a_reboot(host, "libc6", "dbus")
    pretend_gpu.computing(host, (812, "python3", 2000))
    result = deploy()
    assert result.status == 0, result.output
    assert "libc6, dbus asked for one (/run/reboot-required); a deploy makes none for that" in result.output
    assert result.changed == []
    assert boot(host) == before


def test_a_flag_of_the_driver_is_answered_by_a_reload_where_nobody_computes_and_only_once(
    host: Host, deploy: Deploy
) -> None:
    before = boot(host)
    ask_for_a_reboot(host, "nvidia-kernel-open-dkms")
    result = deploy()
    assert result.status == 0, result.output
    assert result.changed == ["NVIDIA | Have the installed driver loaded"]
    assert boot(host) == before
    assert deploy().changed == []


def test_a_flag_of_the_driver_on_a_busy_card_is_a_reboot_when_one_is_allowed(host: Host, deploy: Deploy) -> None:
    before = boot(host)
    ask_for_a_reboot(host, "libcuda1")
    pretend_gpu.computing(host, (812, "python3", 2000))
    later = deploy("nvidia.reboot=ask-later")
    assert later.status == 1
    assert "ends with the outcome reboot-needed where a card is in use" in later.output
    assert "result=reboot-needed reason='libcuda1 asked for a reboot after driver" in later.output
    assert boot(host) == before
    result = deploy()
    assert result.status == 0, result.output
    assert boot(host) != before
    assert host.ssh("test -e /run/reboot-required", check=False).returncode == 1
