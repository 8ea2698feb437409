"""NVIDIA: the driver, pinned to its branch, held, and loaded. Does nothing on a host with `gpu = "none"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import OsRelease
from pyinfra.operations import apt, server, systemd

from roles.apt_repositories import apt_repository, cuda_fingerprint, cuda_key, cuda_repository
from roles.host_files import write
from roles.nvidia.facts import DriverVersions
from roles.nvidia.operations import driver_loaded, packages_held
from roles.nvidia.settings import NvidiaSettings
from roles.pins import pins

if TYPE_CHECKING:
    from roles.site import Site

# Neither a library upgrade under a running driver ("driver/library version mismatch") nor a new branch by night.
BLACKLIST = 'Unattended-Upgrade::Package-Blacklist { "nvidia-"; "libnvidia-"; "cuda-"; };\n'


@deploy("NVIDIA")
def nvidia(site: Site) -> None:
    if site.gpu == "none":
        return
    install(site)
    configure()
    activate(site.nvidia)


def install(site: Site) -> None:
    settings, pin = site.nvidia, pins().nvidia
    system = host.get_fact(OsRelease)
    name, version = system["id"], system["version_id"]
    apt.packages(name="Install gpg and the headers of the running kernel", packages=["gpg", *kernel_headers(name)])
    repository = cuda_repository(site, name, version)
    apt_repository(
        name="Add NVIDIA's driver repository",
        repository="nvidia-cuda",
        uri=repository,
        suite="/",
        components="",
        key_url=f"{repository}/{cuda_key(name, version)}",
        fingerprint=cuda_fingerprint(site, name, version) or "unknown",
    )
    branch = settings.branch or pin.branch
    apt.packages(
        name=f"Pin the driver branch {branch}", packages=[f"nvidia-driver-pinning-{branch}"], no_recommends=True
    )
    apt.packages(name="Install the driver, compute parts only", packages=driver_packages(settings), no_recommends=True)
    packages_held(name="Hold the driver", packages=tuple(driver_packages(settings)))
    write("Keep unattended upgrades away from the driver", "/etc/apt/apt.conf.d/52llm-nvidia", BLACKLIST)


def kernel_headers(distribution: str) -> list[str]:
    """The metapackage that follows the running kernel's flavour; DKMS builds against it."""
    return ["linux-headers-amd64"] if distribution == "debian" else ["linux-headers-generic"]


def driver_packages(settings: NvidiaSettings) -> list[str]:
    """NVIDIA's own headless set: kernel modules, compute libraries, nvidia-smi, the persistence daemon."""
    modules = "nvidia-kernel-open-dkms" if settings.modules == "open" else "nvidia-kernel-dkms"
    return [modules, "nvidia-driver-cuda", "nvidia-persistenced"]


def configure() -> None:
    write(
        "Load the modules at boot, before any service looks for a card",
        "/etc/modules-load.d/llm-nvidia.conf",
        "nvidia\nnvidia-uvm\n",
    )
    write(
        "Keep nouveau away from the card",
        "/etc/modprobe.d/llm-nouveau.conf",
        "blacklist nouveau\noptions nouveau modeset=0\n",
    )


def activate(settings: NvidiaSettings) -> None:
    systemd.service(
        name="Run the persistence daemon", service="nvidia-persistenced.service", running=True, enabled=True
    )
    if settings.reboot == "allowed":
        server.reboot(name="Reboot into the new driver", _if=[driver_is_not_loaded])
    # Without leave to reboot this asks for it; after a reboot it catches a module that does not load (wrong kind of
    # module for the card, no headers for the kernel, Secure Boot), which another reboot would not change.
    driver_loaded(name="Have the driver loaded, or say what is needed")


def driver_is_not_loaded() -> bool:
    """The same question at execution time, for an operation's `_if`."""
    return host.get_fact(DriverVersions).is_not_loaded
