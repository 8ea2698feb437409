"""What a lab host says of its driver and its boot."""

from __future__ import annotations

from lab import Host


def version(host: Host, package: str) -> str:
    """Of an installed package, without the distribution's revision; "" where it is not installed."""
    return host.ssh(f"dpkg-query -W -f '${{Version}}' {package}", check=False).stdout.rpartition("-")[0]


def loaded(host: Host) -> str:
    """The version of the loaded driver, as nvidia-smi tells it."""
    return host.ssh("nvidia-smi --query-gpu=driver_version --format=csv,noheader", check=False).stdout.strip()


def boot(host: Host) -> str:
    """An id of the present boot."""
    return host.ssh("cat /proc/sys/kernel/random/boot_id").stdout
