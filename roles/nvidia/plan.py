"""Which driver a host gets: branch, kind of kernel modules, packages. Settings and the PCI bus in, a plan out; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roles.cards import Kind, PciDevice, module_kind
from roles.nvidia.settings import NvidiaSettings
from roles.pins import pins

LAST_BRANCH_IN_NAMES = 580  # from 590 on NVIDIA's Ubuntu packages drop the branch from their names


@dataclass(frozen=True)
class DriverPlan:
    """What to install from NVIDIA's repository.

    version: exactly this one; None for the newest of the branch that the repository has when there is none yet.
    pinning: keeps apt on the branch; goes in before the driver.
    packages: all of one version, the fabric manager of an NVSwitch host among them.
    """

    branch: str
    version: str | None
    kind: Kind
    pinning: str
    packages: tuple[str, ...]


def driver_plan(distribution: str, devices: Sequence[PciDevice], settings: NvidiaSettings) -> DriverPlan:
    """The plan for a host. :param distribution: ID of os-release, "debian" or "ubuntu"."""
    branch = settings.branch or pins().nvidia.branch
    kind = module_kind(devices, settings.modules)
    packages = (*compute_packages(distribution, branch, kind), *fabric_packages(devices))
    return DriverPlan(branch, settings.version, kind, f"nvidia-driver-pinning-{branch}", packages)


def compute_packages(distribution: str, branch: str, kind: Kind) -> tuple[str, ...]:
    """The compute-only set: kernel modules, libraries, nvidia-smi, persistence daemon; no X, no GL.

    Names: NVIDIA driver installation guide, "Compute-only" for Debian; for Ubuntu the headless metapackages, and the
    renaming table "Ubuntu 590 and later packages". Played in the lab for Debian 12; nothing of Ubuntu was installed.
    """
    if distribution == "debian":
        modules = "nvidia-kernel-open-dkms" if kind == "open" else "nvidia-kernel-dkms"
        return (modules, "nvidia-driver-cuda", "nvidia-persistenced")
    named = f"-{branch}" if int(branch) <= LAST_BRANCH_IN_NAMES else ""
    return (f"nvidia-headless{named}{'-open' if kind == 'open' else ''}", f"nvidia-utils{named}")


def fabric_packages(devices: Sequence[PciDevice]) -> tuple[str, ...]:
    """What an NVSwitch host needs besides, at exactly the driver's version, or CUDA fails with error 802.

    Source: fabric manager user guide, August 2026.
    """
    return ("nvidia-fabricmanager", "libnvidia-nscq") if any(device.is_nvswitch for device in devices) else ()


def kernel_headers(distribution: str, kernel: str) -> list[str]:
    """For DKMS: the metapackage that follows the kernel's flavour, so that the next kernel has its headers too.

    :param kernel: release of the running kernel, "6.1.0-40-cloud-amd64", "6.8.0-60-generic".
    """
    if distribution == "debian":
        flavour = "cloud-amd64" if kernel.endswith("-cloud-amd64") else "amd64"
    else:
        last = kernel.rpartition("-")[2]
        flavour = last if last.isalpha() else "generic"
    return [f"linux-headers-{flavour}"]


def reason_to_reload(loaded: str | None, installed: str | None) -> str | None:
    """Why the kernel must get another driver: None when it runs the installed one, or none is installed."""
    if installed is None or loaded == installed:
        return None
    return f"driver {installed} is installed, {loaded or 'none'} is loaded"


def obstacle(said: str) -> str | None:
    """Why no reboot would help, from what modprobe said; None when one would, as with a module in use.

    Wording of the kernel's tools: kmod's "not found in directory", the kernel's "Key was rejected by service".
    """
    if "Key was rejected" in said:
        return (
            "Secure Boot rejects the module: its key is not enrolled. Turn Secure Boot off in the firmware, or at the "
            "console: mokutil --import /var/lib/dkms/mok.pub, reboot, confirm"
        )
    if "not found in directory" in said:
        return (
            "no module was built for the running kernel: dkms status; apt-get install linux-headers-$(uname -r); "
            "dkms autoinstall. Without such headers, reboot into a kernel that has them"
        )
    return None
