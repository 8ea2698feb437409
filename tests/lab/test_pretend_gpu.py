"""A lab host with a pretend GPU shows it where a real one would, and only while the played kernel has the driver loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host, pretend_gpu

pytestmark = pytest.mark.lab


def test_cards_are_on_the_bus_also_after_a_reboot_and_without_a_driver_nothing_is_loaded(
    make_host: Callable[..., Host],
) -> None:
    host = make_host("pretend")
    pretend_gpu.give(host, [pretend_gpu.H100], switches=1)
    for _ in range(2):
        vendor = host.ssh("cat /sys/bus/pci/devices/0000:a0:00.0/vendor /sys/bus/pci/devices/0000:90:00.0/class").stdout
        assert vendor.split() == ["0x10de", "0x068000"]
        assert host.ssh("modprobe nvidia", check=False).returncode == 1
        assert host.ssh("test -e /proc/driver/nvidia/version", check=False).returncode == 1
        assert host.ssh("systemctl is-system-running", check=False).stdout.strip() == "running"
        host.reboot()
