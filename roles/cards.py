"""NVIDIA's cards as the PCI bus shows them, before any driver is there: which generation, and what that decides.

The bus cannot change in a deploy, so a plan may branch on what is here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pyinfra.api import FactBase

VENDOR, MELLANOX = 0x10DE, 0x15B3
DISPLAY, BRIDGE = 0x03, 0x06  # PCI base classes; an NVSwitch shows itself as a bridge
NVSWITCH_CLASS = 0x0680
# From NVLink 5 on (HGX B200) the switches are not on the bus. They are reached through network functions of Mellanox whose
# product data says so. Source: fabric manager user guide, "Fourth generation NVSwitch", August 2026.
SWITCH_PORT_CLASS, SWITCH_PORT_MARK = 0x0207, "SW_MNG"
NEWEST_OPEN_TO_ALL = 580  # the last branch with proprietary modules for Maxwell, Pascal and Volta
# vLLM's floor for prebuilt wheels: Turing. Pascal is 6.x, Volta 7.0 (vLLM 0.33.0, "Supported hardware").
VLLM_FLOOR = 7.5
# Codes after which a card computes wrongly or not at all until it is reset or replaced. Source: NVIDIA, "XID Errors".
FATAL_XIDS = {48: "memory fault", 64: "row remap failed", 79: "fallen off the bus", 95: "uncontained memory fault"}

Kind = Literal["open", "proprietary"]
Modules = Literal["open", "proprietary", "either"]


@dataclass(frozen=True)
class Generation:
    """A family of GPUs. Source of the last two: NVIDIA driver installation guide, "Open and proprietary modules", August 2026.

    capability: the lowest CUDA compute capability of the family.
    last_branch: the last driver branch that knows it; None where the newest does.
    modules: which kernel modules run it.
    """

    name: str
    capability: float
    last_branch: int | None
    modules: Modules


MAXWELL = Generation("Maxwell", 5.0, NEWEST_OPEN_TO_ALL, "proprietary")
PASCAL = Generation("Pascal", 6.0, NEWEST_OPEN_TO_ALL, "proprietary")
VOLTA = Generation("Volta", 7.0, NEWEST_OPEN_TO_ALL, "proprietary")
TURING = Generation("Turing", 7.5, None, "either")
AMPERE = Generation("Ampere", 8.0, None, "either")
ADA = Generation("Ada", 8.9, None, "either")
HOPPER = Generation("Hopper", 9.0, None, "either")
GRACE_HOPPER = Generation("Grace Hopper", 9.0, None, "open")
BLACKWELL = Generation("Blackwell", 10.0, None, "open")

# First device id of a chip and the first one after it. Ids are given out in pages of 0x80 per chip.
# Sources: the public PCI id database (pci-ids.ucw.cz); for Blackwell NVIDIA/gpu-admin-tools, gpu/devid_chips.py.
_CHIPS: tuple[tuple[int, int, Generation], ...] = (
    (0x1340, 0x1480, MAXWELL),  # GM107, GM108, GM204, GM206
    (0x15F0, 0x1600, PASCAL),  # GP100: P100
    (0x1617, 0x1680, MAXWELL),  # GM204, mobile
    (0x17C0, 0x1800, MAXWELL),  # GM200: M40
    (0x1B00, 0x1D80, PASCAL),  # GP102 (P40), GP104 (P4), GP106, GP107, GP108
    (0x1D80, 0x1E00, VOLTA),  # GV100: V100, Titan V
    (0x1E00, 0x2000, TURING),  # TU102, TU104 (T4), TU106, TU117
    (0x2080, 0x2100, AMPERE),  # GA100: A100, A30
    (0x2180, 0x2200, TURING),  # TU116
    (0x2200, 0x2280, AMPERE),  # GA102: A10, A40
    (0x2300, 0x2342, HOPPER),  # GH100: H100, H200
    (0x2342, 0x2350, GRACE_HOPPER),  # GH200
    (0x2350, 0x2380, HOPPER),
    (0x2400, 0x2600, AMPERE),  # GA103, GA104, GA106, GA107
    (0x2680, 0x2900, ADA),  # AD102 (L40), AD103, AD104 (L4), AD106, AD107
    (0x2900, 0x2A00, BLACKWELL),  # GB100, GB102: B200, GB200
    (0x2B80, 0x2C80, BLACKWELL),  # GB202, GB203
    (0x2D00, 0x2E80, BLACKWELL),  # GB206, GB207, GB10
    (0x2F00, 0x2F80, BLACKWELL),  # GB205
    (0x3180, 0x3200, BLACKWELL),  # B300, GB300
)


@dataclass(frozen=True)
class PciDevice:
    """A device of NVIDIA, or one that leads to its switches.

    `pci_class` as in sysfs without the interface, 0x0302; `driver` is "" where none is bound.
    """

    address: str
    device: int
    pci_class: int
    driver: str

    @property
    def is_card(self) -> bool:
        return self.pci_class >> 8 == DISPLAY

    @property
    def is_nvswitch(self) -> bool:
        return self.pci_class == NVSWITCH_CLASS

    @property
    def is_switch_port(self) -> bool:
        return self.pci_class == SWITCH_PORT_CLASS

    @property
    def generation(self) -> Generation | None:
        return generation_of(self.device)

    def __str__(self) -> str:
        family = self.generation.name if self.generation else "unknown generation"
        return f"{family} card [10de:{self.device:04x}] at {self.address}"


def generation_of(device: int) -> Generation | None:
    """The generation of a PCI device id such as 0x2330 (H100); None for one that nobody has entered here."""
    return next((generation for first, end, generation in _CHIPS if first <= device < end), None)


def parse_devices(lines: Iterable[str]) -> list[PciDevice]:
    """Devices of NVIDIA among lines of `address vendor device class driver`, numbers as sysfs writes them (`0x030200`).

    A line of another vendor counts where its last word is SWITCH_PORT_MARK. Lines that are no device (one that vanished while it
    was read) are left out.
    """
    devices = []
    for line in lines:
        words = line.split()
        marked = words[-1:] == [SWITCH_PORT_MARK]
        words = words[: len(words) - marked]
        try:
            vendor, device, pci_class = (int(word, 16) for word in words[1:4])
        except ValueError:
            continue
        is_port = vendor == MELLANOX and pci_class >> 8 == SWITCH_PORT_CLASS and marked
        if is_port or (vendor == VENDOR and pci_class >> 16 in (DISPLAY, BRIDGE)):
            devices.append(PciDevice(words[0], device, pci_class >> 8, words[4] if len(words) > 4 else ""))
    return sorted(devices, key=lambda found: found.address)


class NvidiaDevices(FactBase[list[PciDevice]]):
    """Cards, NVSwitches and ports to them on the PCI bus; needs no driver and no lspci."""

    @staticmethod
    def default() -> list[PciDevice]:
        return []

    def command(self) -> str:
        return (
            "for d in /sys/bus/pci/devices/*; do "
            'echo "${d##*/} $(cat $d/vendor $d/device $d/class 2>/dev/null | tr "\\n" " ")'
            '$(basename "$(readlink $d/driver 2>/dev/null)" 2>/dev/null)'
            # Product data of one vendor only: some devices take seconds to tell theirs.
            f'$(grep -qs {MELLANOX:#06x} $d/vendor && grep -qs {SWITCH_PORT_MARK} $d/vpd && echo " {SWITCH_PORT_MARK}")"; '
            "done; true"
        )

    def process(self, output: list[str]) -> list[PciDevice]:
        return parse_devices(output)


def module_kind(devices: Iterable[PciDevice], wanted: Literal["auto", "open", "proprietary"]) -> Kind:
    """Open modules, unless a card is there that they do not run; a card that nobody knows counts as new."""
    if wanted != "auto":
        return wanted
    old = any(d.generation is not None and d.generation.modules == "proprietary" for d in devices if d.is_card)
    return "proprietary" if old else "open"
