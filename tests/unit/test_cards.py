"""What a PCI device id says: generations by their best-known cards, and the fact that reads them."""

from __future__ import annotations

import subprocess

import pytest

from roles.cards import NvidiaDevices, PciDevice, generation_of, parse_devices

KNOWN = {
    0x17FD: "Maxwell",  # M40
    0x15F8: "Pascal", 0x1B38: "Pascal", 0x1BB3: "Pascal",  # P100, P40, P4
    0x1DB4: "Volta", 0x1DB6: "Volta",  # V100
    0x1EB8: "Turing", 0x1E04: "Turing", 0x2184: "Turing",  # T4, RTX 2080 Ti, GTX 1660
    0x20B0: "Ampere", 0x20B5: "Ampere", 0x20B7: "Ampere", 0x2236: "Ampere", 0x2204: "Ampere", 0x2484: "Ampere",
    0x27B8: "Ada", 0x26B9: "Ada", 0x2684: "Ada",  # L4, L40S, RTX 4090
    0x2330: "Hopper", 0x2331: "Hopper", 0x2335: "Hopper", 0x2321: "Hopper",  # H100 SXM, PCIe, H200, H100 NVL
    0x2342: "Grace Hopper",
    0x2901: "Blackwell", 0x2941: "Blackwell", 0x2B85: "Blackwell", 0x2BB5: "Blackwell", 0x3182: "Blackwell",
}  # fmt: skip


@pytest.mark.parametrize("device", KNOWN, ids=lambda device: f"{device:04x}")
def test_a_known_card_has_its_generation(device: int) -> None:
    found = generation_of(device)
    assert found is not None
    assert found.name == KNOWN[device]


@pytest.mark.parametrize("device", [0x0FFE, 0x1180, 0x22A3, 0x3FFF])
def test_another_device_has_none(device: int) -> None:
    """Kepler, an NVSwitch, and an id that nobody has given out."""
    assert generation_of(device) is None


def test_only_old_generations_end_with_a_branch_and_only_new_ones_need_open_modules() -> None:
    by_name = {name: generation_of(device) for device, name in KNOWN.items()}
    assert {n for n, g in by_name.items() if g and g.last_branch == 580} == {"Maxwell", "Pascal", "Volta"}
    assert {n for n, g in by_name.items() if g and g.modules == "proprietary"} == {"Maxwell", "Pascal", "Volta"}
    assert {n for n, g in by_name.items() if g and g.modules == "open"} == {"Grace Hopper", "Blackwell"}


def test_cards_and_switches_are_read_and_nothing_else() -> None:
    devices = parse_devices(
        [
            "0000:00:02.0 0x1af4 0x1050 0x030000 virtio-pci",
            "0000:17:00.0 0x10de 0x2330 0x030200 nvidia",
            "0000:05:00.0 0x10de 0x22a3 0x068000",
            "0000:17:00.1 0x10de 0x22bc 0x040300 snd_hda_intel",
            "0000:99:00.0",
        ]
    )
    assert devices == [
        PciDevice("0000:05:00.0", 0x22A3, 0x0680, ""),
        PciDevice("0000:17:00.0", 0x2330, 0x0302, "nvidia"),
    ]
    assert [device.is_card for device in devices] == [False, True]
    assert [device.is_nvswitch for device in devices] == [True, False]
    assert str(devices[1]) == "Hopper card [10de:2330] at 0000:17:00.0"


def test_ports_to_switches_are_told_from_other_network_functions_by_their_product_data() -> None:
    devices = parse_devices(
        [
            "0000:40:00.0 0x15b3 0x1021 0x020700 mlx5_core",
            "0000:50:00.0 0x15b3 0x1021 0x020700 mlx5_core SW_MNG",
            "0000:51:00.0 0x15b3 0x1021 0x020700 SW_MNG",
            "0000:52:00.0 0x15b3 0x1021 0x020000 mlx5_core SW_MNG",
        ]
    )
    assert [(device.address, device.driver) for device in devices] == [
        ("0000:50:00.0", "mlx5_core"),
        ("0000:51:00.0", ""),
    ]
    assert all(device.is_switch_port and not device.is_card and not device.is_nvswitch for device in devices)


def test_the_command_reads_the_bus_of_this_very_machine() -> None:
    command = NvidiaDevices().command()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert all(line.count("0x") in (0, 3) for line in done.stdout.splitlines())
