"""What a host shows of itself, parsed: units as systemd tells them, listeners as ss tells them, owners as /proc tells them."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roles.cards import parse_devices
from roles.layout import STATE_FILE
from roles.nvidia.plan import driver_plan
from roles.nvidia.settings import NvidiaSettings
from roles.settings import is_everywhere

# fmt: off
UNIT_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "DropInPaths", "NeedDaemonReload",
    "NRestarts", "MainPID", "Wants", "User", "DynamicUser", "UID", "NoNewPrivileges", "ProtectSystem", "ProtectHome",
    "PrivateTmp", "PrivateDevices", "DevicePolicy", "ProtectProc", "ProtectKernelModules", "ProtectKernelTunables",
    "ProtectControlGroups", "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality", "CapabilityBoundingSet",
    "AmbientCapabilities", "SystemCallArchitectures", "UMask", "MemoryDenyWriteExecute", "ProtectClock", "ProtectHostname",
    "ProtectKernelLogs", "RestrictRealtime", "RemoveIPC",
)
# fmt: on

Unit = Mapping[str, str]


def parse_units(text: str) -> dict[str, Unit]:
    """By name, the properties that `systemctl show` printed. A unit it does not know has LoadState=not-found."""
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n"))
    return {block["Id"]: block for block in blocks if "Id" in block}


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket; `programs` are the names of the processes that hold it, by pid."""

    address: str
    port: int
    programs: Mapping[int, str]

    @property
    def beyond_loopback(self) -> bool:
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return not (mapped or address).is_loopback

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        return f"{where}:{self.port} ({', '.join(sorted(set(self.programs.values()))) or 'no process'})"


def parse_listeners(text: str) -> list[Listener]:
    """What `ss -Hltnp` printed. `*` is every address of both families; an interface (`%lo`) is not part of the address."""
    listeners = []
    for line in text.splitlines():
        local = line.split()[3]
        address, _, port = local.rpartition(":")
        address = address.strip("[]").partition("%")[0]
        programs = {int(pid): name for name, pid in re.findall(r'\("((?:[^"\\]|\\.)*)",pid=(\d+)', line)}
        listeners.append(Listener("::" if address == "*" else address.strip("[]"), int(port), programs))
    return listeners


def comparable(address: str) -> str:
    """The address as the settings write it: a wildcard of either family is 0.0.0.0, see is_everywhere."""
    return "0.0.0.0" if is_everywhere(address) else address


def addresses_of(port: int, listeners: Iterable[Listener]) -> list[str]:
    """On which addresses a port is listened on, each once and comparable."""
    return sorted({comparable(item.address) for item in listeners if item.port == port})


@dataclass(frozen=True)
class Owner:
    """Who a process is: its user's number and the unit that it belongs to ("" for none)."""

    uid: int
    unit: str


def owners_command(pids: Iterable[int]) -> str:
    """A shell command that prints, for each process that still runs: pid, uid, control group."""
    words = " ".join(str(pid) for pid in sorted(set(pids)))
    facts = 'echo "$p $(stat -c %u /proc/$p) $(tail -n 1 /proc/$p/cgroup)"'
    return f"for p in {words}; do [ -r /proc/$p/cgroup ] && {facts}; done; true"


def secret_command(secret: str, folders: Iterable[str], units: Iterable[str], running: Iterable[str]) -> str:
    """A shell command that prints where else the content of a file is: below folders, in units as systemd shows them, and in
    arguments and environment of the main processes of those that run. It compares on the host: the secret never leaves it."""
    pids = f"$(systemctl show -P MainPID -- {' '.join(sorted(running))} | grep -x '[1-9][0-9]*')"
    return (
        f"grep -rlFf {secret} {' '.join(folders)} --exclude-dir=credentials; "
        f"for u in {' '.join(sorted(units))}; do systemctl show $u | grep -qFf {secret} && echo systemctl show $u; done; "
        f"for p in {pids}; do for f in environ cmdline; do grep -qaFf {secret} /proc/$p/$f && echo /proc/$p/$f; done; done; true"
    )


def parse_owners(text: str) -> dict[int, Owner]:
    """By pid. The unit is the innermost `.service` or `.scope` of the control group."""
    owners = {}
    for line in text.splitlines():
        pid, uid, group = line.split(" ", 2)
        units = [part for part in group.split("/") if part.endswith((".service", ".scope"))]
        owners[int(pid)] = Owner(int(uid), units[-1] if units else "")
    return owners


def differences(wanted: Mapping[str, object], seen: Mapping[str, object]) -> list[str]:
    """One line for each key of `wanted` that `seen` has another value for, or not at all."""
    return [
        f"{key}: expected {value!r}, seen {seen[key]!r}" if key in seen else f"{key}: expected {value!r}, seen nothing"
        for key, value in wanted.items()
        if key not in seen or seen[key] != value
    ]


# Three parts, with a line of dashes between: the state file, the system, the loaded driver.
ABOUT_COMMAND = (
    f"cat {STATE_FILE}; echo; echo ---; . /etc/os-release; echo $PRETTY_NAME; echo ---; "
    "cat /sys/module/nvidia/version; true"
)


def parse_about(text: str) -> dict[str, str]:
    """What ABOUT_COMMAND printed: release, phase, versions, system. Without what the host does not tell."""
    state, system, driver = (*(part.strip() for part in text.split("---\n")), "", "", "")[:3]
    try:
        told = json.loads(state)
    except ValueError:
        told = {}
    about = {key: str(told[key]) for key in ("release", "phase", "vllm", "model", "adapter", "ollama") if told.get(key)}
    return about | {key: value for key, value in (("system", system), ("driver", driver)) if value}


def packages_of_driver(os_release: str, bus: str, settings: NvidiaSettings) -> tuple[str, ...]:
    """Names of the driver's packages by distribution and cards, as a deploy decides them.

    :param bus: what the command of NvidiaDevices prints.
    """
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return driver_plan(values.get("ID", "").strip('"'), parse_devices(bus.splitlines()), settings).packages
