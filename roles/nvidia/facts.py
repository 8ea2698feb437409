"""Driver versions: the kernel module that is loaded, the packages that are installed and held."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand

from roles.driver_version import driver_version
from roles.nvidia.plan import DriverPlan, reason_to_reload

# By distribution, one of these carries the module's source: NVIDIA's names for Debian and for Ubuntu.
MODULE_PACKAGES = ("nvidia-kernel-open-dkms", "nvidia-kernel-dkms", "nvidia-dkms-*")
# Debian's and Ubuntu's flag; one name of a package on a line. Both files are gone after a reboot.
REBOOT_FLAG = "/run/reboot-required.pkgs"
ANSWERED = "/run/llm/reboot-answered"  # who had asked when the modules were last loaded
DRIVER_GLOBS = (
    "nvidia-*",
    "libnvidia-*",
    "libcuda*",
    "cuda-drivers*",
    "firmware-nvidia-*",
    "nvlsm",
    "infiniband-diags",
)


@dataclass(frozen=True)
class Versions:
    """Versions such as "580.178.04"; None where there is none.

    asked: packages that have set the distribution's reboot flag since the modules were last loaded, or since the boot.
    """

    loaded: str | None
    installed: str | None
    asked: tuple[str, ...] = ()

    @property
    def reason_to_reload(self) -> str | None:
        return reason_to_reload(self.loaded, self.installed, self.asked)

    @property
    def must_be_loaded(self) -> bool:
        """A driver is installed, and the kernel must get it anew."""
        return self.reason_to_reload is not None


class DriverVersions(FactBase[Versions]):
    """Loaded and installed driver version; a distribution's revision ("-1") is left out."""

    @staticmethod
    def default() -> Versions:
        return Versions(None, None)

    def command(self) -> str:
        names = " ".join(f"'{name}'" for name in MODULE_PACKAGES)
        return (
            "echo loaded $(cat /sys/module/nvidia/version 2>/dev/null || head -n 1 /proc/driver/nvidia/version 2>/dev/null); "
            f"dpkg-query -W -f='installed ${{Version}} ${{db:Status-Status}}\\n' {names} 2>/dev/null; "
            f"sed 's/^/asked /' {REBOOT_FLAG} 2>/dev/null; sed 's/^/answered /' {ANSWERED} 2>/dev/null; true"
        )

    def process(self, output: list[str]) -> Versions:
        return parse_versions(output)


def parse_versions(output: list[str]) -> Versions:
    loaded = installed = None
    told: dict[str, list[str]] = {"asked": [], "answered": []}
    for line in output:
        word = line.split()
        if word[:1] == ["loaded"]:
            loaded = driver_version(line) or None
        elif word[:1] == ["installed"] and word[-1] == "installed":
            installed = upstream(word[1])
        elif len(word) == 2 and word[0] in told:
            told[word[0]].append(word[1])
    return Versions(loaded, installed, tuple(name for name in told["asked"] if name not in told["answered"]))


def upstream(version: str) -> str:
    """`1:580.178.04-1` without epoch and revision."""
    return re.sub(r"^\d+:|-[^-]+$", "", version)


class DriverPackages(FactBase[dict[str, str]]):
    """Version by name of every installed package whose name is like a driver's, and of those beside it."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self) -> StringCommand:
        globs = [QuoteString(name) for name in DRIVER_GLOBS]
        form = "'${db:Status-Status} ${Package} ${Version}\\n'"
        return StringCommand("dpkg-query", "-W", "-f", form, *globs, "2>/dev/null;", "true")

    def process(self, output: list[str]) -> dict[str, str]:
        rows = (line.split() for line in output)
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def is_installed(plan: DriverPlan, packages: dict[str, str]) -> bool:
    """Whether every package of the plan is there, the driver's of one version, in the branch, and the pinning with them."""
    versions = {upstream(packages[name]) for name in plan.packages if name in packages}
    fits = all(version.startswith(f"{plan.branch}.") and plan.version in (None, version) for version in versions)
    complete = all(name in packages for name in (plan.pinning, *plan.packages, *plan.beside))
    return complete and fits and len(versions) == 1


def to_be_held(packages: dict[str, str], version: str) -> Iterable[str]:
    """The installed packages of this driver version."""
    return sorted(name for name, present in packages.items() if upstream(present) == version)


class NextKernel(FactBase["str | None"]):
    """The kernel that the next boot brings, if it is another than the running one and the driver's modules were built for it."""

    @staticmethod
    def default() -> str | None:
        return None

    def command(self) -> str:
        return (
            "next=$(ls /boot/vmlinuz-* 2>/dev/null | sed 's|.*/vmlinuz-||' | sort -V | tail -n 1); "
            '[ -n "$next" ] && [ "$next" != "$(uname -r)" ] && modinfo -k "$next" -F version nvidia >/dev/null 2>&1 '
            '&& echo "$next"; true'
        )

    def process(self, output: list[str]) -> str | None:
        return output[0] if output else None


class KernelHeaders(FactBase[str]):
    """Headers of one kernel release: "installed", "offered" by a repository, or "" where nobody has them."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, kernel: str) -> str:
        package = f"linux-headers-{kernel}"
        return (
            f"dpkg-query -W -f='${{db:Status-Status}}\\n' {package} 2>/dev/null | grep -x installed || "
            f"apt-cache madison {package} 2>/dev/null | sed -n '1s/.*/offered/p'; true"
        )

    def process(self, output: list[str]) -> str:
        return output[0] if output else ""


class StaleInitramfs(FactBase[bool]):
    """Whether the running kernel's initramfs is older than a file that it should know; False where there is none."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, path: str) -> str:
        image = "/boot/initrd.img-$(uname -r)"
        return f'[ -e "{image}" ] && [ "{image}" -ot {path} ] && command -v update-initramfs; true'

    def process(self, output: list[str]) -> bool:
        return bool(output)
