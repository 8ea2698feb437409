"""Which phases a host keeps on its disk."""

from __future__ import annotations

import pytest

from roles.cards import PciDevice
from roles.layout import ADAPTER, OLLAMA_TEXT, OLLAMA_VISION, VLLM_MODEL
from roles.phases import phases_on_disk, unit_files, units_on_disk, with_phases_decided
from roles.site import site_from

H100, V100, UNKNOWN = (PciDevice(f"0000:{n}:00.0", d, 0x0302, "") for n, d in ((1, 0x2330), (2, 0x1DB4), (3, 0x3FFF)))


@pytest.mark.parametrize(
    ("devices", "settings", "expected"),
    [
        ([V100], {"phase": 1}, (1,)),
        ([V100, H100], {"phase": 1}, (1, 2)),  # one card could serve Phase 2
        ([UNKNOWN], {"phase": 1}, (1, 2)),  # nobody knows that it could not
        ([], {"phase": 1}, (1, 2)),
        ([H100], {"phase": 1}, (1, 2)),
        ([V100], {"phase": 2}, (1, 2)),  # preflight refuses that host with its reason
        ([V100], {"phase": 1, "prepare": "both"}, (1, 2)),
        ([H100], {"phase": 1, "prepare": "phase1"}, (1,)),
        ([V100], {"phase": 1, "gpu": "none"}, (1, 2)),
    ],
)
def test_phase_2_is_left_out_where_no_card_can_run_it_or_the_operator_says_so(
    devices: list[PciDevice], settings: dict[str, object], expected: tuple[int, ...]
) -> None:
    assert phases_on_disk(with_phases_decided(site_from([settings], {}), devices)) == expected


def test_a_host_for_phase_1_alone_has_no_unit_of_phase_2() -> None:
    site = site_from([{"phase": 1, "prepare": "phase1"}], {})
    assert set(units_on_disk(site)) == {OLLAMA_TEXT, OLLAMA_VISION}
    assert not {VLLM_MODEL, ADAPTER, "llm-phase2.target"} & set(unit_files(site))
