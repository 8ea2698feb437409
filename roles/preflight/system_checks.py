"""Judgements on the system around the cards: platform, Secure Boot, foreign drivers, package manager, Docker. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from roles.docker_packages import CONFLICTING, DAEMONS
from roles.driver_packages import is_drivers, kernel_headers
from roles.facts.evidence import Evidence, Package
from roles.preflight.card_checks import branch
from roles.preflight.findings import Finding, error, note, warning
from roles.site import Site

PLATFORMS = {
    "WSL": "its driver belongs to Windows: take it out of the inventory, and use a host that boots Linux itself",
    "Jetson": "its driver is part of L4T, the generic one would break it: take it out of the inventory",
    "vGPU guest": "its driver must be the hypervisor's: take it out of the inventory, and use a host that has the whole card",
}

# By the wanted source: what is wrong with the one that is there, and its name.
THEIR_DOCKER = {
    "docker": ("of the distribution cannot stay beside Docker's own packages", "distribution"),
    "distribution": ("of Docker cannot stay beside the distribution's packages", "docker"),
}


def system_findings(site: Site, seen: Evidence, os: str) -> list[Finding]:
    """Everything about the system that speaks against, or should be known before, the first change."""
    return [
        *_package_manager(seen),
        *_reboot_flag(site, seen),
        *(_driver(site, seen, os) if site.gpu == "nvidia" else ()),
        *_docker(site, seen),
    ]


def _package_manager(seen: Evidence) -> Iterator[Finding]:
    if seen.audit:
        broken = re.findall(r"^ (\S+)", seen.audit, re.MULTILINE)
        what = f"dpkg has unfinished work: {', '.join(broken) or seen.audit.splitlines()[0]}"
        if seen.at_work:  # nobody else's: base finishes it before anything else
            whose = f"the run of {seen.at_work} was cut off in it"
            yield warning(
                "packages", f"{what}; {whose}", "nothing to do: pyinfra inventory deploy.py -y finishes it first"
            )
        else:
            yield error("packages", what, "dpkg --configure -a on the host, then: apt-get -f install")
    if seen.lock_holders:
        who = ", ".join(
            f"{line.partition(' ')[2] or 'a process'} (pid {line.split()[0]})" for line in seen.lock_holders
        )
        pid = seen.lock_holders[0].split()[0]
        remedy = f"the run waits up to 300 s for it; ps -fp {pid} on the host says what it does"
        yield warning("packages", f"{who} holds the package manager's lock", remedy)


def _reboot_flag(site: Site, seen: Evidence) -> Iterator[Finding]:
    """The distribution's flag. Only the driver's own packages in it make a deploy reboot (roles/nvidia/plan.py)."""
    if not seen.reboot_required:
        return
    own = sorted(name for name in seen.reboot_asked_by if site.gpu == "nvidia" and is_drivers(name))
    others = [name for name in seen.reboot_asked_by if name not in own]
    if own:
        then = "reboots the host" if site.nvidia.reboot == "allowed" else "ends with the outcome reboot-needed"
        fact = f"{', '.join(own)} asked for one: a deploy reloads the driver, or {then} where a card is in use"
        yield note("reboot", fact)
    if others or not own:
        who = ", ".join(others) or "somebody"
        yield note(
            "reboot", f"{who} asked for one (/run/reboot-required); a deploy makes none for that, plan it yourself"
        )


def _driver(site: Site, seen: Evidence, os: str) -> Iterator[Finding]:
    if seen.platform:
        yield error("platform", f"this is a {seen.platform}", PLATFORMS[seen.platform])
    if seen.secure_boot and not seen.key_enrolled and not seen.loaded:
        yield error(
            "secure boot",
            "it is on, and the key that DKMS signs modules with is not enrolled: the kernel would reject the driver",
            "turn it off in the firmware, or at the console: mokutil --import /var/lib/dkms/mok.pub, reboot, confirm",
        )
    if seen.runfile:
        yield error(
            "driver",
            f"one was installed by NVIDIA's .run file ({seen.runfile}), beside the package manager",
            f"{seen.runfile} --silent on the host, then systemctl reboot",
        )
    yield from _origins(seen)
    yield from _kernel(seen, os)
    if seen.nouveau and site.nvidia.reboot == "ask-later":
        yield warning(
            "nvidia.reboot",
            "nouveau drives the card, so this run ends with the outcome reboot-needed",
            "systemctl reboot on the host after it, then deploy again",
        )
    yield from _holds(site, seen)
    if seen.installed("unattended-upgrades") and not any("nvidia" in pattern for pattern in seen.unattended):
        yield note("upgrades", "unattended-upgrades may move the driver by night until this deploy forbids it")


def _origins(seen: Evidence) -> Iterator[Finding]:
    """A driver of the distribution: its packages and NVIDIA's own replace each other's files."""
    theirs = [package for package in seen.packages if package.installed and _from_distribution(package)]
    if theirs:
        names = ", ".join(f"{package.name} {package.version}" for package in theirs[:3])
        more = f" and {len(theirs) - 3} more" if len(theirs) > 3 else ""
        yield error(
            "driver",
            f"the distribution's driver is installed ({names}{more}); it does not mix with NVIDIA's packages",
            f"apt-get purge {' '.join(package.name for package in theirs)} on the host, then systemctl reboot",
        )


def _from_distribution(package: Package) -> bool:
    """Debian's own driver carries its revision ("-1~deb12u1"), Ubuntu's the branch in every name ("nvidia-dkms-580")."""
    if not package.name.startswith(("nvidia-", "libnvidia-", "linux-modules-nvidia-")):
        return False
    if package.name.startswith(("nvidia-container", "libnvidia-container")):
        return False
    return bool(re.search(r"deb\d+u|ubuntu", package.version)) or package.name.startswith("linux-modules-nvidia-")


def _kernel(seen: Evidence, os: str) -> Iterator[Finding]:
    if not seen.kernels:
        return  # a kernel that came from elsewhere than a package
    newest = seen.kernels[-1]
    if seen.kernel not in seen.kernels:
        yield error(
            "kernel",
            f"the running kernel {seen.kernel} is no longer installed, so no driver can be built for it",
            "systemctl reboot on the host, then deploy again",
        )
        return
    if newest != seen.kernel and newest in seen.headers:
        yield warning(
            "kernel",
            f"{seen.kernel} runs, {newest} is installed: after the next boot the driver must be built for that one",
            f"apt-get install linux-headers-{newest} on the host, then systemctl reboot, before the deploy",
        )
    elif newest != seen.kernel:
        yield warning(
            "kernel",
            f"{seen.kernel} runs, {newest} is installed and no repository has its headers: after the next boot there is no driver",
            f"apt-get update on the host; where that brings none, keep it from booting: apt-get purge "
            f"linux-image-{newest}",
        )
    if seen.kernel not in seen.headers and not seen.loaded:  # a driver that is loaded was built somehow
        flavour = kernel_headers(os, seen.kernel)[0].removeprefix("linux-headers-")
        yield warning(
            "kernel headers",
            f"no repository has linux-headers-{seen.kernel}, so no driver can be built for the running kernel",
            f"apt-get update on the host; where that brings none: apt-get install linux-image-{flavour} "
            f"linux-headers-{flavour}, then systemctl reboot",
        )


def _holds(site: Site, seen: Evidence) -> Iterator[Finding]:
    wanted = str(branch(site))
    stuck = [
        package
        for package in seen.packages
        if package.name in seen.held
        and package.installed
        and package.name.startswith("nvidia-kernel")
        and not package.version.startswith(f"{wanted}.")
    ]
    for package in stuck:
        yield warning(
            "nvidia.branch",
            f"{package.name} is held at {package.version}; this run moves it to branch {wanted}",
            f'keep it with nvidia = {{"branch": "{package.version.split(".")[0]}"}}',
        )


def _docker(site: Site, seen: Evidence) -> Iterator[Finding]:
    if site.docker.source == "none":
        return
    try:
        daemon_settings(seen.daemon_json)
    except ValueError as problem:
        yield error(
            "docker",
            f"/etc/docker/daemon.json cannot be read: {problem}",
            "correct /etc/docker/daemon.json on the host",
        )
        return
    if seen.snap_docker:
        yield error("docker", "Docker is installed as a snap, which sees no card", "snap remove docker on the host")
    yield from _other_docker(site, seen)
    if seen.containers:
        yield note("docker", f"{_running(seen)}; what runs is compared before and after")


def daemon_settings(text: str) -> dict[str, object]:
    """The content of a daemon.json; none where it is empty. Raises ValueError for one that is not one JSON object."""
    content = json.loads(text) if text.strip() else {}
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def _other_docker(site: Site, seen: Evidence) -> Iterator[Finding]:
    """Docker's packages of another source than the wanted one."""
    settings = site.docker
    if settings.source == "none":
        return
    present = [name for name in CONFLICTING[settings.source] if seen.installed(name)]
    if not present:
        return
    names = ", ".join(present)
    theirs, other = THEIR_DOCKER[settings.source]
    ends = any(name in DAEMONS for name in present) and bool(seen.containers) and not _survives(seen)
    if settings.replace_conflicting and ends:
        yield error(
            "docker.replace_conflicting",
            f"{names} would be replaced while {_running(seen)} without live-restore, which would end with it",
            'add "live-restore": true to /etc/docker/daemon.json, systemctl reload docker; or docker stop NAME, by docker ps',
        )
    elif settings.replace_conflicting:
        fact = f"{names} will be replaced; images stay, containers run on"
        yield warning("docker.replace_conflicting", fact, f'keep it with docker = {{"source": "{other}"}}')
    else:
        running = f"; {_running(seen)}" if seen.containers else ""
        yield error(
            "docker.source",
            f"{names} {theirs}{running}",
            f'keep it with docker = {{"source": "{other}"}}, or replace it with docker = {{"replace_conflicting": true}}',
        )


def _survives(seen: Evidence) -> bool:
    """Whether live-restore is on now, and will be for the Docker that comes after: that one reads the file alone."""
    return seen.live_restore and daemon_settings(seen.daemon_json).get("live-restore") is True


def _running(seen: Evidence) -> str:
    count = len(seen.containers)
    return "1 container runs" if count == 1 else f"{count} containers run"
