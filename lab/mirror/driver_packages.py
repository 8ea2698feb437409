"""Stand-ins for NVIDIA's driver packages: true names, versions and relations, next to no contents.

Names and branches follow NVIDIA's repository for Debian 12: up to 580 metapackages also exist with the branch in their
name, from 590 on they do not, and `nvidia-driver-pinning-<branch or version>` keeps apt on a branch or a version. A
headless host installs `nvidia-driver-cuda` and one of the two kernel packages; `nvidia-open` and `cuda-drivers` bring
the desktop part too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab.mirror.debs import Deb

VERSIONS = ("580.178.04", "580.182.01", "595.91.07")
SUBNET_MANAGER_VERSION = "2025.12.211-1"
LAST_BRANCH_IN_NAMES = 580
SOURCE = "nvidia-graphics-drivers"
STAND_INS = Path(__file__).resolve().parents[1] / "stand_ins"
VERSION_FILE = "/usr/share/nvidia/stand-in-version"
MODULES = ("nvidia-kernel-open-dkms", "nvidia-kernel-dkms")
LIBRARIES = ("libcuda1", "libnvidia-cfg1", "libnvidia-ml1", "libnvidia-nvvm4", "libnvidia-ptxjitcompiler1")

PERSISTENCED_POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    deb-systemd-helper enable nvidia-persistenced.service
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload || true
        # Without a GPU the daemon ends at once; the package is installed all the same, as the real one is.
        deb-systemd-invoke restart nvidia-persistenced.service || true
    fi
fi
"""
PERSISTENCED_PRERM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop nvidia-persistenced.service || true
fi
"""
PERSISTENCED_POSTRM = """#!/bin/sh
set -e
if [ "$1" = purge ]; then
    deb-systemd-helper purge nvidia-persistenced.service || true
fi
"""


def branch_of(version: str) -> int:
    """580 for 580.178.04."""
    return int(version.split(".")[0])


def driver_packages(version: str, architecture: str) -> Iterator[Deb]:
    """All packages of one driver version."""
    exact = f"{version}-1"

    def deb(name: str, summary: str, *depends: str, **more: object) -> Deb:
        pinned = tuple(one if " " in one else f"{one} (= {exact})" for one in depends)
        return Deb(name, exact, summary, architecture, SOURCE, pinned, **more)  # type: ignore[arg-type]

    for library in LIBRARIES:
        yield deb(library, "NVIDIA driver library")
    yield deb("libnvidia-compute", "NVIDIA compute libraries", *LIBRARIES)
    yield deb("nvidia-modprobe", "loads the NVIDIA kernel module")
    smi_files = {
        "/usr/bin/nvidia-smi": _stand_in("nvidia_smi_stand_in.py"),
        VERSION_FILE: f"{version}\n",
        # The version in its name makes a specification of another driver stale, as with the real libraries.
        f"/usr/share/nvidia/stand-in/bin/nvidia-smi-{version}": _stand_in("nvidia_smi_in_a_container_stand_in"),
    }
    yield deb("nvidia-smi", "NVIDIA System Management Interface", "libnvidia-ml1", "python3 (>= 3.9)", files=smi_files)
    yield deb(
        "nvidia-persistenced", "NVIDIA persistence daemon", "libnvidia-cfg1", "python3 (>= 3.9)",
        files={
            "/usr/bin/nvidia-persistenced": _stand_in("nvidia_persistenced_stand_in.py"),
            "/lib/systemd/system/nvidia-persistenced.service": _stand_in("nvidia_persistenced_stand_in.service"),
        },
        scripts={"postinst": PERSISTENCED_POSTINST, "prerm": PERSISTENCED_PRERM, "postrm": PERSISTENCED_POSTRM},
    )  # fmt: skip
    compute = ("libnvidia-compute", "nvidia-modprobe", "nvidia-persistenced", "nvidia-smi")
    yield deb("nvidia-driver-cuda", "NVIDIA driver, compute part", *compute)
    yield deb("firmware-nvidia-gsp", "NVIDIA GSP firmware")
    yield deb("nvidia-kernel-support", "NVIDIA kernel module support", "nvidia-modprobe", files=_module_files())
    for name, other in (MODULES, MODULES[::-1]):
        relations = {"Conflicts": other, "Provides": f"nvidia-kernel-module (= {exact})"}
        source = {f"/usr/src/nvidia-{version}/dkms.conf": f'PACKAGE_NAME="nvidia"\nPACKAGE_VERSION="{version}"\n'}
        parts = ("nvidia-kernel-support", "firmware-nvidia-gsp")
        yield deb(name, "NVIDIA kernel module source", *parts, relations=relations, files=source)
    yield deb("nvidia-driver-libs", "NVIDIA driver, OpenGL part")
    yield deb("xserver-xorg-video-nvidia", "NVIDIA driver for X", "nvidia-driver-libs")
    yield deb("nvidia-driver", "NVIDIA driver, desktop part", "nvidia-driver-libs", "xserver-xorg-video-nvidia")
    everything = ("nvidia-driver", "nvidia-driver-cuda")
    yield deb("nvidia-open", "NVIDIA driver with open modules", *everything, "nvidia-kernel-open-dkms")
    yield deb("cuda-drivers", "NVIDIA driver with closed modules", *everything, "nvidia-kernel-dkms")
    # For NVSwitch and rack systems.
    yield deb(
        "nvidia-fabricmanager", "NVIDIA fabric manager",
        files={
            "/usr/bin/nv-fabricmanager": _stand_in("nvidia_fabricmanager_stand_in"),
            "/lib/systemd/system/nvidia-fabricmanager.service": _stand_in("nvidia_fabricmanager_stand_in.service"),
            "/usr/share/nvidia/nvswitch/stand-in-version": f"{version}\n",
        },
    )  # fmt: skip
    yield deb("libnvidia-nscq", "NVIDIA NVSwitch configuration and query library")
    yield deb("nvidia-imex", "NVIDIA internode memory exchange")
    branch = branch_of(version)
    if branch <= LAST_BRANCH_IN_NAMES:
        yield deb(f"nvidia-open-{branch}", f"NVIDIA driver {branch} with open modules", "nvidia-open")
        yield deb(f"cuda-drivers-{branch}", f"NVIDIA driver {branch} with closed modules", "cuda-drivers")
    yield pinning(version, f"{version}-*", exact)
    yield pinning(str(branch), f"{branch}.*", exact)


def subnet_manager(architecture: str) -> Deb:
    """`nvlsm`, which the fabric manager starts on NVLink 5; its version is none of the driver's."""
    files: dict[str, str | bytes] = {"/opt/nvidia/nvlsm/sbin/nvlsm": "#!/bin/sh\nexec sleep infinity\n"}
    return Deb(
        "nvlsm", SUBNET_MANAGER_VERSION, "NVIDIA NVLink subnet manager", architecture, depends=("libibumad3",), files=files,
        scripts={"postinst": "#!/bin/sh\nchmod 755 /opt/nvidia/nvlsm/sbin/nvlsm\n"},
    )  # fmt: skip


def pinning(what: str, pattern: str, package_version: str) -> Deb:
    """`nvidia-driver-pinning-…`: an apt preference that holds everything built from the driver's source."""
    name = f"nvidia-driver-pinning-{what}"
    # With the suffix: apt ignores a file whose name has a dot and another ending, as 580.178.04 would be.
    path = f"/etc/apt/preferences.d/{name}.pref"
    # Above 1000, so that apt goes down to the pinned branch too (with --allow-downgrades).
    preference = f"Package: src:{SOURCE}\nPin: version {pattern}\nPin-Priority: 1001\n"
    relations = {"Provides": "nvidia-driver-pinning", "Conflicts": "nvidia-driver-pinning"}
    files: dict[str, str | bytes] = {path: preference}
    # Its own source: the pin must not speak of the package that carries it.
    source = "nvidia-driver-pinning"
    return Deb(name, package_version, f"pins the NVIDIA driver to {what}", "all", source, (), relations, files, (path,))


def keyring(distribution: str, machine: str, keyring_file: bytes) -> Deb:
    """`cuda-keyring`: key, source list and preference at the paths of the real package.

    The list names NVIDIA's own site, as the real one does: a host that uses a mirror has to bring its own list.
    """
    key = "/usr/share/keyrings/cuda-archive-keyring.gpg"
    source = f"/etc/apt/sources.list.d/cuda-{distribution}-{machine}.list"
    site = f"https://developer.download.nvidia.com/compute/cuda/repos/{distribution}/{machine}/"
    preference = "/etc/apt/preferences.d/cuda-repository-pin-600"
    files: dict[str, str | bytes] = {
        key: keyring_file,
        source: f"deb [signed-by={key}] {site} /\n",
        preference: "Package: nsight-compute\nPin: origin *ubuntu.com*\nPin-Priority: -1\n\n"
        "Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 600\n",
    }
    return Deb("cuda-keyring", "1.1-1", "key of NVIDIA's CUDA repository", files=files, conffiles=(source, preference))


def _module_files() -> dict[str, str | bytes]:
    return {
        "/usr/lib/modprobe.d/nvidia-stand-in.conf": "blacklist nouveau\noptions nouveau modeset=0\n",
        "/usr/lib/modules-load.d/nvidia-stand-in.conf": "# The real package loads nvidia and nvidia-uvm here.\n",
    }


def _stand_in(name: str) -> str:
    return (STAND_INS / name).read_text()
