"""Stand-ins for NVIDIA's DCGM packages: true names and relations, the exporter's unit, and a played exporter.

Names: NVIDIA's repository as its users list it (`datacenter-gpu-manager-exporter` depends on `datacenter-gpu-manager-4-core`); unit
and paths: packaging/ of NVIDIA/dcgm-exporter. Whether the real package starts its unit is not known here; this one does, as
Debian's do, which is the worse case for a host.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.mirror.debs import Deb
from lab.mirror.driver_packages import STAND_INS

VERSION, CORE_VERSION = "4.5.0-1", "1:4.5.0-1"
UNIT = "nvidia-dcgm-exporter.service"
COUNTERS = "DCGM_FI_DEV_GPU_TEMP, gauge, GPU temperature (in C).\nDCGM_FI_DRIVER_VERSION, label, Driver Version\n"
POSTINST = f"""#!/bin/sh
set -e
if [ "$1" = configure ]; then
    deb-systemd-helper enable {UNIT} >/dev/null
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload || true
        deb-systemd-invoke start {UNIT} || true
    fi
fi
"""
PRERM = f"""#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop {UNIT} || true
fi
"""


def dcgm_packages(architecture: str) -> Iterator[Deb]:
    """DCGM itself, of which nothing is played, and its exporter."""
    yield Deb("datacenter-gpu-manager-4-core", CORE_VERSION, "NVIDIA data center GPU manager", architecture)
    yield Deb(
        "datacenter-gpu-manager-exporter", VERSION, "NVIDIA DCGM exporter for Prometheus", architecture,
        depends=("datacenter-gpu-manager-4-core (>= 1:4)", "python3 (>= 3.9)"),
        files={
            "/usr/bin/dcgm-exporter": (STAND_INS / "nvidia_dcgm_exporter_stand_in.py").read_text(),
            f"/lib/systemd/system/{UNIT}": (STAND_INS / "nvidia_dcgm_exporter_stand_in.service").read_text(),
            "/etc/dcgm-exporter/default-counters.csv": COUNTERS,
        },
        conffiles=("/etc/dcgm-exporter/default-counters.csv",),
        scripts={"postinst": POSTINST, "prerm": PRERM},
    )  # fmt: skip
