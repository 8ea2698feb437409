"""Ports: each on exactly the address that the settings say, held by the right process, and nothing else beyond loopback.

ss sees the host's own network namespace, not those of containers. Of UDP only our own units are looked at: what the host needs for
time, names and its address is its operator's business, and comes and goes.
"""

from __future__ import annotations

import pytest

from roles.layout import (
    ADAPTER,
    ADAPTER_VISION,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    OUR_UNITS,
    VLLM,
    VLLM_VISION,
)
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.seen import (
    Listener,
    Owner,
    Unit,
    addresses_of,
    comparable,
    owners_command,
    parse_listeners,
    parse_owners,
)
from tests.verify.targets import Target

# Container ports are declared in the compose file that publishes them; systemd holds 22 where ssh is socket-activated.
ALLOWED = ("sshd", "systemd:22", "docker-proxy")


def declared(site: Site) -> dict[int, tuple[str, str]]:
    """By port, the address it is served on and the unit that serves it, in the host's phase."""
    ports = {site.ollama.vision.port: (site.ollama.address, OLLAMA_VISION)}
    if site.phase == 1:
        return ports | {site.ollama.text.port: (site.ollama.address, OLLAMA_TEXT)}
    if site.vision_on_vllm:
        ports = {
            site.ollama.vision.port: (site.ollama.address, ADAPTER_VISION),
            site.vllm_vision.port: ("127.0.0.1", VLLM_VISION),
            site.ollama.vision.loopback_port: ("127.0.0.1", OLLAMA_EMBED),
        }
    return ports | {
        site.vllm.port: ("127.0.0.1", VLLM),
        site.adapter.port: (site.adapter.address, ADAPTER),
    }


def test_every_declared_port_listens_on_its_address_and_nowhere_else(
    site: Site, listeners: list[Listener], expect: Expect
) -> None:
    wanted = {f"port {port}": [comparable(address)] for port, (address, _) in declared(site).items()}
    seen = {f"port {port}": addresses_of(port, listeners) for port in declared(site)}
    expect("addresses that listen", wanted, seen)


def test_every_declared_port_is_held_by_its_unit_and_user(
    site: Site, units: dict[str, Unit], listeners: list[Listener], owners: dict[int, Owner], expect: Expect
) -> None:
    wanted = {f"port {port}": [f"{unit} as {units[unit]['UID']}"] for port, (_, unit) in declared(site).items()}
    seen = {f"port {port}": _holders(port, listeners, owners) for port in declared(site)}
    expect("holders of the ports", wanted, seen)


def _holders(port: int, listeners: list[Listener], owners: dict[int, Owner]) -> list[str]:
    # Process 1 holds the adapter's socket too: that is what socket activation means. See the test of the socket below.
    pids = {pid for item in listeners if item.port == port for pid in item.programs if pid != 1}
    return sorted({f"{owners[pid].unit or 'no unit'} as {owners[pid].uid}" for pid in pids if pid in owners})


@pytest.mark.phase(2)
def test_the_adapters_port_is_systemds_so_that_a_restart_refuses_nobody(
    target: Target, site: Site, listeners: list[Listener]
) -> None:
    for port in (site.adapter.port, *((site.ollama.vision.port,) if site.vision_on_vllm else ())):
        held = [item for item in listeners if item.port == port]
        assert any(1 in item.programs for item in held), (
            f"{target.name}: expected process 1 among the holders of {port}, seen {', '.join(map(str, held)) or 'none'}"
        )


@pytest.mark.phase(2)
def test_vllm_listens_on_loopback_only_its_engine_included(
    target: Target, site: Site, listeners: list[Listener], owners: dict[int, Owner]
) -> None:
    for unit in (VLLM, *((VLLM_VISION,) if site.vision_on_vllm else ())):
        ours = [item for item in listeners if any(owners[pid].unit == unit for pid in item.programs if pid in owners)]
        open_to_all = [str(item) for item in ours if item.beyond_loopback]
        assert ours, f"{target.name}: expected a listener of {unit}, seen none"
        assert not open_to_all, f"{target.name}: expected {unit} on loopback only, seen {', '.join(open_to_all)}"


def test_no_unit_of_ours_listens_beyond_loopback_on_an_undeclared_port(
    target: Target, site: Site, listeners: list[Listener], owners: dict[int, Owner]
) -> None:
    extra = [
        str(item)
        for item in listeners
        if item.beyond_loopback
        and item.port not in declared(site)
        and any(owners[pid].unit in OUR_UNITS for pid in item.programs if pid in owners)
    ]
    assert not extra, f"{target.name}: expected only ports {sorted(declared(site))}, seen also {', '.join(extra)}"


def test_no_unit_of_ours_takes_udp_beyond_loopback(target: Target, run: Run) -> None:
    sockets = parse_listeners(run("ss -Hlunp")[1])
    owners = parse_owners(run(owners_command(pid for item in sockets for pid in item.programs))[1])
    ours = [
        str(item)
        for item in sockets
        if item.beyond_loopback and any(owners[pid].unit in OUR_UNITS for pid in item.programs if pid in owners)
    ]
    assert not ours, f"{target.name}: expected no UDP socket of ours beyond loopback, seen {', '.join(ours)}"


@pytest.mark.warning
def test_nothing_unexpected_listens_beyond_loopback(target: Target, site: Site, listeners: list[Listener]) -> None:
    allowed = {*ALLOWED, *target.listeners}
    watching = [one.port for one in site.monitoring.listening(site.gpu).values()]  # test_monitoring.py looks at those
    foreign = [
        str(item)
        for item in listeners
        if item.beyond_loopback and item.port not in {*declared(site), *watching} and not _is_allowed(item, allowed)
    ]
    assert not foreign, (
        f"{target.name}: unexpected listeners: {', '.join(foreign)}\n  stop them, or allow them in the host's data: "
        '_verify_listeners = ["program:port"]'
    )


def _is_allowed(item: Listener, allowed: set[str]) -> bool:
    return bool(item.programs) and all({name, f"{name}:{item.port}"} & allowed for name in item.programs.values())


@pytest.mark.phase(1)
def test_the_ports_that_phase_2_will_need_are_free(target: Target, site: Site, listeners: list[Listener]) -> None:
    ports = {site.vllm.port}
    if site.vision_on_vllm:
        ports |= {site.vllm_vision.port, site.ollama.vision.loopback_port}
    taken = [str(item) for item in listeners if item.port in ports]
    assert not taken, f"{target.name}: expected nobody on {sorted(ports)} in Phase 1, seen {', '.join(taken)}"
