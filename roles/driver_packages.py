"""Names of the packages around the driver: what a host needs of them, and which belong to a driver. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from roles.cards import Kind, PciDevice

FABRIC_MANAGER = "nvidia-fabricmanager"
FABRIC = (FABRIC_MANAGER, "libnvidia-nscq")
# What the fabric manager starts and asks on NVLink 5: the subnet manager and `ibstat`, each of a version of its own.
BESIDE_FABRIC = ("nvlsm", "infiniband-diags")
LAST_BRANCH_IN_NAMES = 580  # from 590 on NVIDIA's Ubuntu packages drop the branch from their names
# The same two as in host/install-driver, which runs on the host and imports nothing from here.
DRIVER = re.compile(
    r"^(lib)?(nvidia|cuda-drivers|xserver-xorg-video-nvidia|firmware-nvidia|libcuda|libnvcuvid|libnvoptix|libxnvctrl|nvlsm|libnvsdm)"
)
NOT_DRIVER = re.compile(r"^(lib)?nvidia-container|^nvidia-(docker|cuda-toolkit)")


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


def pinning(branch: str) -> str:
    """The package that keeps apt on a branch."""
    return f"nvidia-driver-pinning-{branch}"


def fabric_packages(devices: Sequence[PciDevice]) -> tuple[str, ...]:
    """What an NVSwitch host needs besides, at exactly the driver's version, or CUDA fails with error 802.

    Source: fabric manager user guide, August 2026. nvidia-imex is for racks of Grace hosts, which preflight refuses.
    """
    if any(device.is_nvswitch for device in devices):
        return FABRIC
    return (FABRIC_MANAGER,) if any(device.is_switch_port for device in devices) else ()


def packages_beside(devices: Sequence[PciDevice]) -> tuple[str, ...]:
    """What a host needs beside the fabric manager."""
    return BESIDE_FABRIC if any(device.is_switch_port for device in devices) else ()


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


def is_drivers(package: str) -> bool:
    """Whether a package is part of a driver."""
    return bool(DRIVER.match(package)) and not NOT_DRIVER.match(package)
