"""Names, addresses and subnets: derived, stable, and never another lab's."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.naming import Names, address, check_host_name, choose_octet, choose_subnet, lab_id, subnet

STATE = Path("/var/lib/llm-lab")


def test_the_lab_id_differs_by_checkout_suffix_and_state_directory_and_is_otherwise_stable() -> None:
    ids = {
        lab_id(Path("/src/a"), "", STATE),
        lab_id(Path("/src/b"), "", STATE),
        lab_id(Path("/src/a"), "test", STATE),
        lab_id(Path("/src/a"), "", Path("/tmp/state")),
    }
    assert len(ids) == 4
    assert lab_id(Path("/src/a"), "", STATE) == lab_id(Path("/src/a"), "", STATE)


def test_interface_names_fit_the_kernels_fifteen_characters() -> None:
    names = Names("0123abcd")
    assert len(names.bridge) <= 15
    assert len(names.veth(250)) <= 15


def test_a_host_made_anew_has_the_hardware_address_it_had() -> None:
    assert Names("0123abcd").mac(11) == "02:01:23:ab:cd:0b"


def test_names_of_two_labs_share_nothing_but_the_scheme() -> None:
    one, two = Names("0123abcd"), Names("0123abce")
    assert {one.bridge, one.nft_table, one.tag("gpu1"), one.veth(11)}.isdisjoint(
        {two.bridge, two.nft_table, two.tag("gpu1"), two.veth(11)}
    )


@pytest.mark.parametrize("name", ["gpu1", "a", "t-web-2", "a" * 30])
def test_ordinary_host_names_are_accepted(name: str) -> None:
    assert check_host_name(name) == name


@pytest.mark.parametrize("name", ["", "../etc", "GPU1", "1gpu", "a-", "a b", "a" * 31, "a.b", "é", "gpu1\n"])
def test_a_name_that_is_no_host_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(LabError, match="lower-case letters, digits and dashes"):
        check_host_name(name)


def test_a_host_gets_its_old_address_again() -> None:
    assert choose_octet("gpu2", {"gpu1": 11, "gpu2": 12}, existing=[]) == 12


def test_a_new_host_does_not_get_the_address_of_one_that_was_destroyed() -> None:
    assert choose_octet("gpu3", {"gpu1": 11, "gpu2": 12}, existing=["gpu1"]) == 13


def test_addresses_of_destroyed_hosts_are_used_again_only_when_no_fresh_one_is_left() -> None:
    known = {f"h{octet}": octet for octet in range(11, 251)}
    existing = [name for name in known if name != "h40"]
    assert choose_octet("new", known, existing) == 40
    with pytest.raises(LabError, match="all 240 addresses"):
        choose_octet("new", known, list(known))


def test_a_subnet_that_is_claimed_or_routed_is_passed_over() -> None:
    assert choose_subnet("00000005", [], []) == 5
    assert choose_subnet("00000005", [5], ["10.231.6.0/24", "10.231.7.128/25"]) == 8


def test_a_default_route_or_a_vpn_that_takes_all_of_ten_does_not_use_up_the_subnets() -> None:
    assert choose_subnet("00000005", [], ["default", "10.0.0.0/8", "192.168.1.0/24"]) == 5


def test_subnets_wrap_around_and_run_out_with_a_message() -> None:
    assert choose_subnet("000000ff", [255], []) == 0
    with pytest.raises(LabError, match="every subnet"):
        choose_subnet("00000000", range(256), [])


def test_addresses_lie_in_their_subnet() -> None:
    assert str(subnet(140)) == "10.231.140.0/24"
    assert address(140, 1) == "10.231.140.1"
    assert address(140, 11) == "10.231.140.11"
