"""Evidence about a machine as typed values: its platform, cards, driver, packages.

The host script gathers raw texts, this module reads them. Each parser takes what one tool or file says and is tested with such
output (tests/unit/fixtures/evidence).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand

from roles.cards import PciDevice, parse_devices
from roles.driver_version import driver_version

SCRIPT = Path(__file__).parent / "host" / "evidence.py"


@dataclass(frozen=True)
class Card:
    """A card as nvidia-smi reports it; memory in MiB. `mig` is None where the card has no such mode."""

    index: int
    uuid: str
    name: str
    capability: float
    memory_total: int
    memory_used: int
    driver: str
    mig: bool | None
    persistent: bool


@dataclass(frozen=True)
class Health:
    """Memory faults of a card. `remap_*` are False where the card cannot remap rows; `uncorrected` since the driver was loaded."""

    uuid: str
    remap_pending: bool
    remap_failed: bool
    uncorrected: int


@dataclass(frozen=True)
class App:
    """A process that computes on a card; memory in MiB, 0 where unknown. `unit` is "" outside systemd's units."""

    uuid: str
    pid: int
    name: str
    memory: int
    unit: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}{f', {self.unit}' if self.unit else ''})"


@dataclass(frozen=True)
class Xid:
    """An error report of the driver in the kernel's log. Codes: NVIDIA's XID catalogue."""

    address: str
    code: int
    text: str


@dataclass(frozen=True)
class Package:
    """A package of dpkg. `status` is its abbreviation, "ii" for installed, "iF" for half configured, "rc" for removed."""

    name: str
    version: str
    status: str

    @property
    def installed(self) -> bool:
        return self.status.startswith("ii") or self.status.startswith("hi")


@dataclass(frozen=True)
class Evidence:
    """A machine before the first change. Empty texts and tuples stand for "not there" or "no tool to ask".

    secure_boot: None on a machine without UEFI. loaded: version of the loaded driver module.
    headers: kernel releases whose headers are installed or offered by a repository.
    reboot_asked_by: packages that have set the distribution's reboot flag; empty where it does not say who did.
    smi_failure: what nvidia-smi said instead of listing cards; "" where it listed them or is not installed.
    """

    kernel: str
    kernels: tuple[str, ...]
    headers: frozenset[str]
    platform: str
    secure_boot: bool | None
    key_enrolled: bool
    devices: tuple[PciDevice, ...]
    nouveau: bool
    loaded: str
    smi_failure: str
    cards: tuple[Card, ...]
    health: tuple[Health, ...]
    apps: tuple[App, ...]
    xids: tuple[Xid, ...]
    runfile: str
    packages: tuple[Package, ...]
    audit: str
    at_work: str  # the run of ours that left packages half installed; "" where none did
    held: frozenset[str]
    lock_holders: tuple[str, ...]
    unattended: tuple[str, ...]
    reboot_required: bool
    reboot_asked_by: tuple[str, ...]
    daemon_json: str
    snap_docker: bool
    live_restore: bool
    containers: tuple[str, ...]

    @property
    def pci_cards(self) -> tuple[PciDevice, ...]:
        return tuple(device for device in self.devices if device.is_card)

    def installed(self, name: str) -> Package | None:
        return next((package for package in self.packages if package.name == name and package.installed), None)


def parse_evidence(raw: Mapping[str, Any]) -> Evidence:
    """The script's JSON object as typed values. Raises KeyError or ValueError for anything else."""
    texts, commands = raw["texts"], raw["commands"]
    return Evidence(
        kernel=texts["kernel"],
        kernels=tuple(texts["kernels"].splitlines()),
        headers=frozenset(parse_headers(texts["headers"])),
        platform=special_platform(texts),
        secure_boot=secure_boot(bool(texts["efi"]), texts["secure_boot"]),
        key_enrolled="DKMS" in texts["mok"] or "Secure Boot Module Signature key" in texts["mok"],
        devices=tuple(parse_devices(texts["pci"].splitlines())),
        nouveau=any(line.startswith("nouveau ") for line in texts["modules"].splitlines()),
        loaded=driver_version(texts["module_version"] or texts["driver_version"]),
        smi_failure=smi_failure(commands["cards"]),
        cards=tuple(parse_cards(commands["cards"]["out"])),
        health=tuple(parse_health(commands["health"]["out"])),
        apps=tuple(parse_apps(commands["apps"]["out"], texts["cgroups"])),
        xids=tuple(parse_xids(texts["xid"])),
        runfile=texts["runfile"],
        packages=tuple(parse_packages(texts["packages"])),
        audit=texts["audit"].strip(),
        at_work=texts.get("at_work", "").strip(),
        held=frozenset(texts["holds"].split()),
        lock_holders=tuple(texts["lock_holders"].splitlines()),
        unattended=tuple(parse_unattended(texts["unattended"])),
        reboot_required=bool(texts["reboot_required"]),
        reboot_asked_by=tuple(name for name in texts["reboot_required"].splitlines() if name != "yes"),
        daemon_json=texts["daemon_json"],
        snap_docker=bool(texts["snap_docker"]),
        live_restore=texts["live_restore"].strip() == "true",
        containers=tuple(texts["containers"].splitlines()),
    )


def special_platform(texts: Mapping[str, str]) -> str:
    """ "WSL", "Jetson" or "vGPU guest" where the generic driver would do harm, else "".

    Sources: WSL's kernel names Microsoft in /proc/version; L4T writes /etc/nv_tegra_release; a guest's licence client
    has /etc/nvidia/gridd.conf, and its driver says "Virtualization Mode: VGPU" (nvidia-smi manual).
    """
    if re.search(r"microsoft|WSL", texts["proc_version"], re.IGNORECASE):
        return "WSL"
    if texts["tegra"] or "jetson" in texts["device_tree"].lower() or "tegra" in texts["device_tree"].lower():
        return "Jetson"
    modes = {line.partition(":")[2].strip() for line in texts["virtualization"].splitlines()}
    if texts["gridd"] or modes & {"VGPU", "vGPU"}:
        return "vGPU guest"
    return ""


def secure_boot(efi: bool, variable: str) -> bool | None:
    """From the bytes of the EFI variable in hex: four of attributes, then 1 where it is on. None without UEFI."""
    if not efi:
        return None
    return variable[8:10] == "01"


def smi_failure(command: Mapping[str, Any]) -> str:
    """Why nvidia-smi listed no card: its own words; "" where it is not installed or did list them."""
    if command["status"] in (0, 127):
        return ""
    said = " ".join(f"{command['out']} {command['err']}".split())
    return said or f"nvidia-smi ended with status {command['status']}"


def parse_cards(text: str) -> list[Card]:
    """Lines of the card query. A card that is lost gives text instead of numbers and is left out."""
    cards = []
    for fields in _rows(text, 9):
        try:
            index, total = int(fields[0]), int(float(fields[4]))
        except ValueError:
            continue
        mig = {"Enabled": True, "Disabled": False}.get(fields[7])
        cards.append(
            Card(
                index,
                fields[1],
                fields[2],
                _number(fields[3]),
                total,
                int(_number(fields[5])),
                fields[6],
                mig,
                fields[8] == "Enabled",
            )
        )
    return cards


def parse_health(text: str) -> list[Health]:
    """Lines of the health query; a field that a card lacks is "[N/A]"."""
    return [
        Health(fields[0], fields[1] == "Yes", fields[2] == "Yes", int(_number(fields[3]))) for fields in _rows(text, 4)
    ]


def parse_apps(text: str, cgroups: str) -> list[App]:
    """Lines of the process query. :param cgroups: per line a pid and its control groups."""
    units = {}
    for line in cgroups.splitlines():
        pid, _, groups = line.partition(" ")
        found = re.findall(r"([^/\s]+\.(?:service|scope))", groups)
        box = re.search(
            r"/(?:docker|libpod|lxc|kubepods\S*)[/-]([0-9a-f]{12})", groups
        )  # of containers without systemd's groups
        units[pid] = found[-1] if found else f"docker-{box[1]}.scope" if box else ""
    return [
        App(fields[0], int(fields[1]), fields[2], int(_number(fields[3])), units.get(fields[1], ""))
        for fields in _rows(text, 4)
        if fields[1].isdigit()
    ]


def parse_xids(text: str) -> list[Xid]:
    """`NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.`"""
    found = re.finditer(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+), ?(.*)", text)
    return [Xid(match[1], int(match[2]), match[3].strip()) for match in found]


def parse_packages(text: str) -> list[Package]:
    """Lines of name, version and status, between tabs; names that dpkg only knows of are left out."""
    rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
    return [Package(name, version, status.strip()) for name, version, status in rows if version]


def parse_headers(text: str) -> list[str]:
    """Kernel releases with a candidate, from `apt-cache policy linux-headers-…`; an installed package is one too."""
    found = re.findall(r"^linux-headers-(\S+):\n(?:  .*\n)*?  Candidate: (.*)$", text, re.MULTILINE)
    return [release for release, candidate in found if candidate != "(none)"]


def parse_unattended(text: str) -> list[str]:
    """The patterns that unattended-upgrades leaves alone, from `apt-config dump Unattended-Upgrade`."""
    return re.findall(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";$', text, re.MULTILINE)


def _rows(text: str, width: int) -> list[list[str]]:
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == width]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


class MachineEvidence(FactBase["Evidence | None"]):
    """The evidence; None where the host has no python3."""

    @staticmethod
    def default() -> Evidence | None:
        return None

    def command(self) -> StringCommand:
        script = QuoteString(SCRIPT.read_text(encoding="utf-8"))
        return StringCommand("python3", "-c", script, "2>/dev/null", "||", "true")

    def process(self, output: list[str]) -> Evidence | None:
        try:
            return parse_evidence(json.loads("".join(output)))
        except (ValueError, KeyError, TypeError):
            return None
