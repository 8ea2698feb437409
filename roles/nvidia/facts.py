"""Driver versions: the kernel module that is loaded and the package that is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyinfra.api import FactBase

MODULE_PACKAGES = "nvidia-kernel-open-dkms nvidia-kernel-dkms"


@dataclass(frozen=True)
class Versions:
    """Versions such as "580.178.04"; None where there is none."""

    loaded: str | None
    installed: str | None

    @property
    def is_not_loaded(self) -> bool:
        """A driver is installed, and the kernel runs another one or none."""
        return self.installed is not None and self.loaded != self.installed


class DriverVersions(FactBase[Versions]):
    """Loaded and installed driver version; a distribution's revision ("-1") is left out."""

    @staticmethod
    def default() -> Versions:
        return Versions(None, None)

    def command(self) -> str:
        return (
            "echo loaded $(cat /sys/module/nvidia/version 2>/dev/null); "
            f"dpkg-query -W -f='installed ${{Version}} ${{db:Status-Status}}\\n' {MODULE_PACKAGES} 2>/dev/null; true"
        )

    def process(self, output: list[str]) -> Versions:
        return parse_versions(output)


def parse_versions(output: list[str]) -> Versions:
    loaded = installed = None
    for line in output:
        word = line.split()
        if word[:1] == ["loaded"] and len(word) > 1:
            loaded = word[1]
        elif word[:1] == ["installed"] and word[-1] == "installed":
            installed = re.sub(r"^\d+:|-[^-]+$", "", word[1])
    return Versions(loaded, installed)
