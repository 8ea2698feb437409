"""Machines that exist only as evidence: what `roles/facts/host/evidence.py` would print on them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

DRIVER = "580.178.04"
RUNNING, NEWER = "6.8.0-60-generic", "6.8.0-64-generic"


def offered(release: str) -> str:
    """What `apt-cache policy` says of headers that a repository has."""
    return f"linux-headers-{release}:\n  Installed: (none)\n  Candidate: {release}.1\n  Version table:\n     {release}.1 500\n"


@dataclass(frozen=True)
class FakeCard:
    """A card: its PCI device id and what nvidia-smi would say of it. Memory in MiB."""

    device: int
    name: str
    capability: float
    memory: int
    uuid: str
    mig: str = "Disabled"
    used: int = 0


@dataclass(frozen=True)
class Machine:
    """A machine before a deploy. `driver` is the loaded one, "" on a fresh host; `texts` replaces raw texts of the evidence."""

    cards: tuple[FakeCard, ...] = ()
    switches: int = 0
    switch_ports: int = 0
    driver: str = ""
    apps: str = ""
    health: str = ""
    smi: dict[str, Any] | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def with_driver(self, version: str = DRIVER, **texts: str) -> Machine:
        """The same machine with this driver installed and loaded."""
        return replace(self, driver=version, texts={**self.texts, **texts})

    def saying(self, **texts: str) -> Machine:
        """The same machine with these raw texts."""
        return replace(self, texts={**self.texts, **texts})

    @property
    def pci(self) -> str:
        bound = " nvidia" if self.driver else ""
        cards = [
            f"0000:{0x17 + number:02x}:00.0 0x10de 0x{card.device:04x} 0x030200{bound}"
            for number, card in enumerate(self.cards)
        ]
        switches = [f"0000:{number:02x}:00.0 0x10de 0x22a3 0x068000" for number in range(self.switches)]
        ports = [f"0000:{0x50 + number:02x}:00.0 0x15b3 0x1021 0x020700 SW_MNG" for number in range(self.switch_ports)]
        others = ["0000:00:02.0 0x1af4 0x1050 0x030000 virtio-pci", "0000:40:00.0 0x15b3 0x1021 0x020700 mlx5_core"]
        return "\n".join([*others, *switches, *ports, *cards])

    def evidence(self) -> dict[str, Any]:
        """The object that the script prints."""
        module = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {self.driver}  Release Build\n"
        texts = {
            **dict.fromkeys(TEXTS, ""),
            "kernel": RUNNING,
            "kernels": RUNNING,
            "headers": "".join(map(offered, (RUNNING, NEWER))),
            "proc_version": "Linux version 6.8.0-60-generic (buildd@lcy02) #63-Ubuntu SMP",
            "efi": "yes",
            "secure_boot": "0600000000",
            "pci": self.pci,
            "module_version": self.driver,
            "driver_version": module if self.driver else "",
            **self.texts,
        }
        rows = ""
        for number, card in enumerate(self.cards):
            memory = f"{card.memory}, {card.used}, {self.driver}"
            rows += f"{number}, {card.uuid}, {card.name}, {card.capability}, {memory}, {card.mig}, Enabled\n"
        absent: dict[str, Any] = {"status": 127, "out": "", "err": ""}
        commands = {"cards": absent, "health": absent, "apps": absent}
        if self.driver:
            said = {"cards": rows, "health": self.health, "apps": self.apps}
            commands = {name: {"status": 0, "out": out, "err": ""} for name, out in said.items()}
        if self.smi:
            commands["cards"] = self.smi
        return {"texts": texts, "commands": commands}


TEXTS = (
    "kernel", "kernels", "headers", "proc_version", "device_tree", "tegra", "gridd", "efi", "secure_boot", "mok",
    "pci", "modules", "module_version", "driver_version", "runfile", "xid", "virtualization", "packages", "audit", "holds",
    "at_work", "lock_holders", "unattended", "reboot_required", "daemon_json", "snap_docker", "live_restore",
    "containers", "cgroups",
)  # fmt: skip

H100 = FakeCard(0x2330, "NVIDIA H100 80GB HBM3", 9.0, 81559, "GPU-8f1c")
A100 = FakeCard(0x20B5, "NVIDIA A100 80GB PCIe", 8.0, 81920, "GPU-a100")
A100_40 = FakeCard(0x20B0, "NVIDIA A100-SXM4-40GB", 8.0, 40960, "GPU-a104")
L4 = FakeCard(0x27B8, "NVIDIA L4", 8.9, 23034, "GPU-1414")
T4 = FakeCard(0x1EB8, "Tesla T4", 7.5, 15360, "GPU-7474")
V100 = FakeCard(0x1DB6, "Tesla V100-PCIE-32GB", 7.0, 32768, "GPU-7007")
P100 = FakeCard(0x15F8, "Tesla P100-PCIE-16GB", 6.0, 16384, "GPU-77aa")
B200 = FakeCard(0x2901, "NVIDIA B200", 10.0, 183359, "GPU-b200")

NO_CARD = Machine()
ONE_H100 = Machine((H100,))
