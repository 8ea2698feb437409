"""Installing the driver as one transaction, holding it, and having the kernel run it."""

from __future__ import annotations

import time
from collections.abc import Generator
from posixpath import dirname

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, QuoteString, State, StringCommand, operation
from pyinfra.facts.files import File

from roles.held_packages import HeldPackages
from roles.layout import DCGM_EXPORTER, LIBEXEC
from roles.nvidia.facts import (
    ANSWERED,
    REBOOT_FLAG,
    DriverPackages,
    DriverVersions,
    KernelHeaders,
    NextKernel,
    StaleInitramfs,
    is_installed,
    to_be_held,
)
from roles.nvidia.plan import DriverPlan, obstacle
from roles.outcomes import OUTCOME_FILE, REBOOT_NEEDED, end_with, forget_outcome
from roles.run_lock import hold_again
from roles.secrets import privileges

Commands = Generator[StringCommand | FunctionCommand, None, None]
REBOOT_TIMEOUT_S = 900  # servers with much memory test it for minutes
UNLOAD = "modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia"
ANSWER = f"mkdir -p {dirname(ANSWERED)} && cat {REBOOT_FLAG} >{ANSWERED} 2>/dev/null"


@operation()
def driver_installed(plan: DriverPlan) -> Commands:
    """Have every package of the plan at one version. apt's whole transaction is played and judged before it is made."""
    if is_installed(plan, host.get_fact(DriverPackages)):
        host.noop(f"the driver is there, in branch {plan.branch}")
        return
    version = ["--version", plan.version] if plan.version else []
    yield StringCommand(
        f"{LIBEXEC}/install-driver", "--branch", plan.branch, "--pinning", QuoteString(plan.pinning), *version,
        *(f"--beside={package}" for package in plan.beside),
        *(QuoteString(package) for package in plan.packages),
    )  # fmt: skip


@operation()
def driver_held() -> Commands:
    """Have every package of the installed driver on hold, so that only a deploy moves it."""
    installed = host.get_fact(DriverVersions).installed
    held: list[str] = host.get_fact(HeldPackages)
    wanted = to_be_held(host.get_fact(DriverPackages), installed) if installed else ()
    missing = [name for name in wanted if name not in held]
    if installed and not missing:
        host.noop("every package of the driver is held")
        return
    # A plan for a host without a driver cannot name them: they are asked for again when this runs.
    yield FunctionCommand(_hold, (), {})


def _hold(state: State, host: Host) -> bool:
    installed = host.get_fact(DriverVersions).installed
    names = " ".join(to_be_held(host.get_fact(DriverPackages), installed)) if installed else ""
    ok, _ = host.run_shell_command(f"apt-mark hold {names}" if names else "true", **privileges(host))
    return ok


@operation()
def driver_loaded(may_reboot: bool) -> Commands:
    """Have the kernel run the installed driver: by a reload when nobody uses the card, else by a reboot.

    Where a reboot is needed and not allowed, the run ends on this host with the outcome reboot-needed.
    """
    versions = host.get_fact(DriverVersions)
    if versions.installed and not versions.must_be_loaded:
        if host.get_fact(File, path=OUTCOME_FILE):
            yield StringCommand(forget_outcome())
        else:
            host.noop("the installed driver is loaded")
        return
    yield FunctionCommand(_load, (may_reboot,), {})


def _load(state: State, host: Host, may_reboot: bool) -> bool:
    sudo = privileges(host)
    if not host.get_fact(DriverVersions).must_be_loaded:
        return True  # its packages brought it along
    said = _reload(host, sudo)
    versions = host.get_fact(DriverVersions)
    next_kernel = host.get_fact(NextKernel)
    if versions.must_be_loaded and (problem := obstacle(said, next_kernel)):
        return _give_up(host, sudo, problem)
    if (reason := versions.reason_to_reload) is not None:
        if next_kernel:
            reason += f"; kernel {next_kernel}, which the next boot brings, has its modules"
        if not may_reboot:
            then = f"systemctl reboot on the host, then: pyinfra inventory deploy.py -y --limit {host.name}"
            end_with(host, REBOOT_NEEDED, reason, then)
            return False
        logger.info(f"{host.print_prefix}{reason}; rebooting")
        if not _reboot(host, sudo):
            return _give_up(host, sudo, f"it did not come back within {REBOOT_TIMEOUT_S} s of a reboot")
        if not hold_again(host):
            return False
        if host.get_fact(DriverVersions).must_be_loaded:
            said = _reload(host, sudo)
        if (reason := host.get_fact(DriverVersions).reason_to_reload) is not None:
            return _give_up(host, sudo, obstacle(said) or f"{reason}, after a reboot too: is nvidia.modules right?")
    ok, _ = host.run_shell_command(forget_outcome(), **sudo)
    return ok


def _reload(host: Host, sudo: dict[str, object]) -> str:
    """Unload what is loaded, load what is installed; what the tools said. The kernel refuses while somebody uses a card."""
    _, output = host.run_shell_command(reload_command(), **sudo)
    return output.stdout


def reload_command() -> str:
    """The shell command of a reload. What holds the cards without computing makes way, and is back whatever came of it."""
    daemons = "nvidia-fabricmanager nvidia-persistenced"  # the first is of one driver version
    # dcgm-exporter of monitoring.stack; it starts again only where it ran: an operator may have stopped it.
    runs = "^(active|activating|reloading)$"
    return (
        f"systemctl is-active {DCGM_EXPORTER} 2>/dev/null | grep -qE '{runs}' && watching={DCGM_EXPORTER} || watching=; "
        f"systemctl stop $watching {daemons} 2>/dev/null; {{ {UNLOAD} && modprobe nvidia && modprobe nvidia-uvm; }} 2>&1 "
        f"&& {{ {ANSWER}; }}; systemctl start {daemons} $watching 2>/dev/null; true"
    )


def _reboot(host: Host, sudo: dict[str, object]) -> bool:
    """Reboot and wait until commands run in another boot. By the boot's id: a container's uptime is its machine's."""
    read = "cat /proc/sys/kernel/random/boot_id"
    before = host.run_shell_command(read)[1].stdout
    host.run_shell_command("( sleep 1 && systemctl reboot ) </dev/null >/dev/null 2>&1 &", **sudo)
    deadline = time.monotonic() + REBOOT_TIMEOUT_S
    time.sleep(3)
    while time.monotonic() < deadline:
        host.disconnect()
        host.connect(show_errors=False)
        if host.connected:
            ok, output = host.run_shell_command(read)
            if ok and output.stdout != before:
                host.run_shell_command("timeout 120 systemctl is-system-running --wait >/dev/null; true", **sudo)
                return True
        time.sleep(1)
    return False


def _give_up(host: Host, sudo: dict[str, object], problem: str) -> bool:
    _, output = host.run_shell_command(
        "dkms status 2>/dev/null | grep -i nvidia; journalctl -k -b -o cat --no-pager -g 'nvidia|NVRM' -n 5 2>/dev/null; true",
        **sudo,
    )
    logger.error(f"{host.print_prefix}the driver is installed, but not loaded: {problem}")
    for line in output.stdout_lines:
        logger.error(f"{host.print_prefix}    {line}")
    return False


@operation()
def kernel_headers_installed(kernel: str) -> Commands:
    """Have the running kernel's own headers, where somebody offers them: the flavour's package brings the newest kernel's."""
    state = host.get_fact(KernelHeaders, kernel=kernel)
    if state != "offered":
        host.noop(f"headers of {kernel}: {state or 'no repository has them'}")
        return
    yield StringCommand(
        "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends",
        QuoteString(f"linux-headers-{kernel}"),
    )  # fmt: skip


@operation()
def initramfs_current(path: str) -> Commands:
    """Have the initramfs of the running kernel know the file, which keeps a module from being loaded early."""
    if host.get_fact(StaleInitramfs, path=path):
        yield StringCommand("update-initramfs", "-u")
    else:
        host.noop(f"the initramfs is newer than {path}, or there is none")
