"""NVIDIA: the driver, pinned to its branch, held, and loaded. Does nothing on a host with `gpu = "none"`."""

from __future__ import annotations

from posixpath import dirname
from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import KernelVersion, OsRelease
from pyinfra.operations import apt, systemd

from roles.apt_repositories import apt_repository, cuda_fingerprint, cuda_key, cuda_repository
from roles.cards import NvidiaDevices, PciDevice
from roles.driver_packages import fabric_packages, kernel_headers, packages_beside
from roles.host_files import directory, install_program, write
from roles.nvidia.operations import (
    driver_held,
    driver_installed,
    driver_loaded,
    initramfs_current,
    kernel_headers_installed,
)
from roles.nvidia.plan import driver_plan

if TYPE_CHECKING:
    from roles.site import Site

NOT_BY_NIGHT = "/etc/apt/apt.conf.d/52llm-nvidia"
MODULES = "/etc/modules-load.d/llm-nvidia.conf"
FABRIC = "/etc/systemd/system/nvidia-fabricmanager.service.d/llm.conf"
NOUVEAU = "/etc/modprobe.d/llm-nouveau.conf"
FILES = {
    # Neither a library upgrade under a running driver ("driver/library version mismatch") nor a new branch by night.
    NOT_BY_NIGHT: (
        'Unattended-Upgrade::Package-Blacklist { "nvidia-"; "libnvidia-"; "libcuda"; "cuda-"; "firmware-nvidia-"; "nvlsm"; };\n'
    ),
    MODULES: "nvidia\nnvidia-uvm\n",
    NOUVEAU: "blacklist nouveau\noptions nouveau modeset=0\n",
    # The subnet manager, which the fabric manager starts, talks to the switches through this module.
    FABRIC: "[Service]\nExecStartPre=-/sbin/modprobe ib_umad\n",
}


@deploy("NVIDIA")
def nvidia(site: Site) -> None:
    if site.gpu == "none":
        return
    devices: list[PciDevice] = host.get_fact(NvidiaDevices)  # cannot change in a deploy, so the plan may branch on it
    configure(devices)  # before the driver: its packages and the reboot must find these files
    install(site, devices)
    activate(site, devices)


def configure(devices: list[PciDevice]) -> None:
    write("Keep unattended upgrades away from the driver", NOT_BY_NIGHT, FILES[NOT_BY_NIGHT])
    write("Load the modules at boot, before any service looks for a card", MODULES, FILES[MODULES])
    write("Keep nouveau away from the card", NOUVEAU, FILES[NOUVEAU])
    initramfs_current(name="Keep nouveau out of the initramfs too", path=NOUVEAU)
    if packages_beside(devices):
        directory("Have a directory for the fabric manager's settings", dirname(FABRIC))
        write("Have the fabric manager find the ports to its switches", FABRIC, FILES[FABRIC])


def install(site: Site, devices: list[PciDevice]) -> None:
    system = host.get_fact(OsRelease)
    name, version = system["id"], system["version_id"]
    kernel = host.get_fact(KernelVersion) or ""
    apt.packages(name="Install gpg and the kernel's headers", packages=["gpg", *kernel_headers(name, kernel)])
    kernel_headers_installed(name="Have the running kernel's headers too, where they are offered", kernel=kernel)
    repository = cuda_repository(site, name, version)
    apt_repository(
        name="Add NVIDIA's driver repository",
        repository="nvidia-cuda",
        uri=repository,
        suite="/",
        components="",
        key_url=f"{repository}/{cuda_key(name, version)}",
        fingerprint=cuda_fingerprint(site, name, version) or "unknown",
        key_sha256=site.nvidia.key_sha256,
    )
    install_program("Install install-driver", "roles/nvidia/host/install-driver")
    plan = driver_plan(name, devices, site.nvidia)
    # The name is the same for all hosts: pyinfra shows one name for an operation, whatever it does on each.
    driver_installed(name="Install the driver, the whole transaction judged first", plan=plan)
    driver_held(name="Hold every package of the driver")


def activate(site: Site, devices: list[PciDevice]) -> None:
    driver_loaded(name="Have the installed driver loaded", may_reboot=site.nvidia.reboot == "allowed")
    if fabric_packages(devices):
        systemd.service(
            name="Run the fabric manager", service="nvidia-fabricmanager.service", running=True, enabled=True
        )
    systemd.service(
        name="Run the persistence daemon", service="nvidia-persistenced.service", running=True, enabled=True
    )
