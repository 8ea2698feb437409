"""Give a lab host cards that it does not have, so that drivers can be deployed to it; see stand_ins/kernel_stand_in.py.

pretend_gpu.give(host, [pretend_gpu.H100])
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.host import Host

STAND_IN = Path(__file__).parent / "stand_ins" / "kernel_stand_in.py"
PROGRAM = "/usr/local/lib/llm-lab/kernel-stand-in"
UNIT = f"""[Unit]
Description=The kernel's part of a GPU (stand-in of the lab)
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target systemd-modules-load.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={PROGRAM} boot

[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class PretendCard:
    """A card: PCI device id, and what nvidia-smi says of it once the driver is loaded. Memory in MiB."""

    device: int
    name: str
    capability: str
    memory: int


H100 = PretendCard(0x2330, "NVIDIA H100 80GB HBM3", "9.0", 81559)
P100 = PretendCard(0x15F8, "Tesla P100-PCIE-16GB", "6.0", 16384)
B200 = PretendCard(0x2901, "NVIDIA B200", "10.0", 183359)


def give(host: Host, cards: Sequence[PretendCard], switches: int = 0, switch_ports: int = 0) -> None:
    """Put the cards into the host, at once and at every boot. Needs a running host; a driver is not loaded by this.

    :param switch_ports: network functions that lead to NVSwitches, as on a board with B200.
    """
    bus = ["address,vendor,device,class,vpd"]
    smi = ["index,uuid,name,compute_cap,memory.total,memory.used"]
    for number in range(switches):
        bus.append(f"0000:{0x90 + number:02x}:00.0,0x10de,0x22a3,0x068000,")
    for number in range(switch_ports):
        bus.append(f"0000:{0x50 + number:02x}:00.0,0x15b3,0x1021,0x020700,SMDL=SW_MNG")
    for number, card in enumerate(cards):
        bus.append(f"0000:{0xA0 + number:02x}:00.0,0x10de,0x{card.device:04x},0x030200,")
        smi.append(f"{number},GPU-pretend-{number},{card.name},{card.capability},{card.memory},0")
    put(host, "/etc/llm-lab/pci.csv", "\n".join(bus) + "\n")
    put(host, "/etc/llm-lab/gpus.csv", "\n".join(smi) + "\n")
    put(host, "/etc/systemd/system/llm-lab-kernel.service", UNIT)
    put(host, PROGRAM, STAND_IN.read_text(encoding="utf-8"), "755")
    for path in ("/usr/sbin/modprobe", "/usr/sbin/rmmod", "/usr/sbin/modinfo", "/usr/bin/uname"):
        host.ssh(f"dpkg-divert --quiet --local --rename --add {path}; ln -sfn {PROGRAM} {path}")
    host.ssh("systemctl daemon-reload; systemctl enable --quiet llm-lab-kernel; systemctl restart llm-lab-kernel")


def put(host: Host, path: str, text: str, mode: str = "644") -> None:
    """Write a file on the host."""
    quoted = shlex.quote(path)
    host.ssh(f"install -D -m {mode} /dev/stdin {quoted}", stdin=text)


def faults(host: Host, *words: str) -> None:
    """Make the next loads of the module fail: "no-headers" or "key-rejected"; without words they succeed again."""
    put(host, "/etc/llm-lab/faults", "\n".join(words) + "\n")


def computing(host: Host, *processes: tuple[int, str, int]) -> None:
    """Have these processes (pid, name, MiB) on the first card, as the driver would tell; none ends it."""
    lines = [f"GPU-pretend-0,{pid},{name},{memory}" for pid, name, memory in processes]
    put(host, "/etc/llm-lab/compute-apps.csv", "\n".join(["gpu_uuid,pid,process_name,used_memory", *lines]) + "\n")
