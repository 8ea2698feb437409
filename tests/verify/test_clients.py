"""The services as clients beyond the host see them: asked from this machine, at the address that clients use."""

from __future__ import annotations

import pytest

from roles.layout import ollama_version
from roles.site import Site
from tests.verify.conftest import Expect
from tests.verify.connection import Connection
from tests.verify.targets import Target
from tests.verify.web import ask_from_here, is_any, is_loopback, url_of


def expect_ollama_at(
    address: str,
    port: int,
    target: Target,
    site: Site,
    connection: Connection,
    expect: Expect,
    asks_for_token: bool = False,
) -> None:
    __tracebackhide__ = True
    if is_loopback(address):
        pytest.skip(f"{target.name}: {port} is on loopback only, as its settings say")
    way = connection.resolved()
    if any(way.get(option, "none") != "none" for option in ("proxyjump", "proxycommand")):
        pytest.skip(f"{target.name}: reached through a jump host; this machine is not where its clients are")
    answer = ask_from_here(target.name, url_of(way["hostname"] if is_any(address) else address, port) + "/api/version")
    if asks_for_token:  # it stays on the host
        expect(answer.question, {"status": 401}, {"status": answer.status})
        return
    expect(answer.question, {"version": ollama_version(site)}, answer.json())


def test_the_text_models_are_served_to_clients(
    target: Target, site: Site, connection: Connection, expect: Expect
) -> None:
    # The settings insist that both phases serve text on the same port.
    address = site.adapter.address if site.phase == 2 else site.ollama.address
    asks = site.phase == 2 and site.adapter.require_token
    expect_ollama_at(address, site.adapter.port, target, site, connection, expect, asks_for_token=asks)


def test_the_vision_models_are_served_to_clients(
    target: Target, site: Site, connection: Connection, expect: Expect
) -> None:
    expect_ollama_at(site.ollama.address, site.ollama.vision.port, target, site, connection, expect)
