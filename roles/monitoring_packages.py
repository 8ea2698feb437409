"""Names of the packages of the monitoring. Read by the role and by the bundle."""

from __future__ import annotations

DISTRIBUTION = ("prometheus", "prometheus-node-exporter", "prometheus-blackbox-exporter")
# In NVIDIA's driver repository; brings DCGM itself along (datacenter-gpu-manager-4-core).
DCGM = "datacenter-gpu-manager-exporter"


def packages(gpu: str) -> tuple[str, ...]:
    """What a host with the stack gets. :param gpu: of the site."""
    return (*DISTRIBUTION, DCGM) if gpu == "nvidia" else DISTRIBUTION
