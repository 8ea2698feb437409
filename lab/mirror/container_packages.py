"""Stand-ins for the NVIDIA container toolkit: four packages at one version, as NVIDIA publishes them."""

from __future__ import annotations

from collections.abc import Iterator

from lab.mirror.debs import Deb
from lab.mirror.driver_packages import STAND_INS

VERSIONS = ("1.19.0", "1.19.1")

REFRESH_SERVICE = """[Unit]
Description=Refresh NVIDIA CDI specification file (stand-in)
ConditionPathExists=/etc/llm-lab/gpus.csv

[Service]
Type=oneshot
ExecStart=/usr/bin/nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml

[Install]
WantedBy=multi-user.target
"""
REFRESH_PATH = """[Unit]
Description=Trigger a refresh of the NVIDIA CDI specification (stand-in)

[Path]
PathChanged=/usr/bin/nvidia-smi
PathChanged=/etc/llm-lab/gpus.csv
Unit=nvidia-cdi-refresh.service

[Install]
WantedBy=multi-user.target
"""
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    deb-systemd-helper enable nvidia-cdi-refresh.path nvidia-cdi-refresh.service
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload || true
        deb-systemd-invoke start nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true
    fi
fi
"""


def container_packages(version: str, architecture: str) -> Iterator[Deb]:
    """All packages of one toolkit version."""
    exact = f"{version}-1"
    source = "libnvidia-container"
    yield Deb("libnvidia-container1", exact, "NVIDIA container runtime library", architecture, source)
    yield Deb(
        "libnvidia-container-tools", exact, "NVIDIA container tools", architecture, source,
        (f"libnvidia-container1 (= {exact})",),
    )  # fmt: skip
    ctk = (STAND_INS / "nvidia_ctk_stand_in.py").read_text().replace("0.0.0-unpackaged", version)
    runtime = (STAND_INS / "nvidia_container_runtime_stand_in.py").read_text()
    yield Deb(
        "nvidia-container-toolkit-base", exact, "NVIDIA container toolkit, base", architecture,
        "nvidia-container-toolkit", ("python3 (>= 3.9)",),
        files={
            "/usr/bin/nvidia-ctk": ctk,
            "/usr/bin/nvidia-container-runtime": runtime,
            "/lib/systemd/system/nvidia-cdi-refresh.service": REFRESH_SERVICE,
            "/lib/systemd/system/nvidia-cdi-refresh.path": REFRESH_PATH,
        },
        scripts={"postinst": POSTINST},
    )  # fmt: skip
    yield Deb(
        "nvidia-container-toolkit", exact, "NVIDIA container toolkit", architecture, "nvidia-container-toolkit",
        (f"nvidia-container-toolkit-base (= {exact})", f"libnvidia-container-tools (= {exact})"),
    )  # fmt: skip
