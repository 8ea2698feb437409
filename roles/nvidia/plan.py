"""Which driver a host gets: branch, kind of kernel modules, packages. Settings and the PCI bus in, a plan out; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from roles.cards import Kind, PciDevice, module_kind
from roles.driver_packages import compute_packages, fabric_packages, is_drivers, packages_beside, pinning
from roles.nvidia.settings import NvidiaSettings


@dataclass(frozen=True)
class DriverPlan:
    """What to install from NVIDIA's repository.

    version: exactly this one; None for the newest of the branch that the repository has when there is none yet.
    pinning: keeps apt on the branch; goes in before the driver.
    packages: all of one version, the fabric manager of an NVSwitch host among them.
    beside: in the same transaction, of whatever version there is.
    """

    branch: str
    version: str | None
    kind: Kind
    pinning: str
    packages: tuple[str, ...]
    beside: tuple[str, ...] = ()


def driver_plan(distribution: str, devices: Sequence[PciDevice], settings: NvidiaSettings) -> DriverPlan:
    """The plan for a host. :param distribution: ID of os-release, "debian" or "ubuntu"."""
    branch = settings.wanted_branch
    kind = module_kind(devices, settings.modules)
    packages = (*compute_packages(distribution, branch, kind), *fabric_packages(devices))
    return DriverPlan(branch, settings.version, kind, pinning(branch), packages, packages_beside(devices))


def reason_to_reload(loaded: str | None, installed: str | None, asked: Iterable[str] = ()) -> str | None:
    """Why the kernel must get the driver anew, by a reload or else a reboot; None when nothing of ours needs it.

    The three-way test: another driver is loaded than installed, none is loaded, or the distribution's flag
    (/run/reboot-required) was set by a package of the driver itself, as when it is rebuilt with the same version. What else
    sets the flag - a kernel, libc6 - is the operator's to follow: the driver runs, and a reboot would end running work for it.

    :param asked: the packages that have set the flag since the modules were loaded.
    """
    if installed is None:
        return None
    if loaded != installed:
        return f"driver {installed} is installed, {loaded or 'none'} is loaded"
    if own := sorted(filter(is_drivers, asked)):
        return f"{', '.join(own)} asked for a reboot after driver {installed} was loaded (/run/reboot-required)"
    return None


def obstacle(said: str, next_kernel: str | None = None) -> str | None:
    """Why no reboot would help, from what modprobe said; None when one would, as with a module in use.

    Wording of the kernel's tools: kmod's "not found in directory", the kernel's "Key was rejected by service".

    :param next_kernel: the one that the next boot brings, if it is another than the running one and has the driver's modules.
    """
    if "Key was rejected" in said:
        return (
            "Secure Boot rejects the module: its key is not enrolled. Turn Secure Boot off in the firmware, or at the "
            "console: mokutil --import /var/lib/dkms/mok.pub, reboot, confirm"
        )
    if "not found in directory" in said and next_kernel is None:
        return (
            "no module was built for the running kernel: dkms status; apt-get install linux-headers-$(uname -r); "
            "dkms autoinstall. Without such headers, reboot into a kernel that has them"
        )
    return None
