"""Verification: does each host of an inventory serve what its settings say? One command, also against production:

    python -m tests.verify --inventory inventory               every host at the same time, with reports (make verify)
    pytest tests/verify --inventory inventory                  every host, one after the other, as any pytest
    pytest tests/verify --inventory inventory --limit gpu-01   one host, glob or group; may be repeated
    pytest tests/verify --inventory inventory --quick          only what is quick and generates no token

VERIFY_INVENTORY=inventory in the environment means the same as --inventory. Hosts, users, keys, ports, sudo and settings come
from the inventory as `pyinfra inventory deploy.py` reads them, `--data KEY=VALUE` included. It needs root on the hosts, changes
nothing, and generates a handful of tokens, unless --quick.

A new file of checks is found by itself: its docstring's first words are its topic in the reports, each test's name is a sentence.
`@pytest.mark.full`: slow, or asks a model. `@pytest.mark.warning`: the host serves all the same when it is not so.

Ports: beyond loopback a host may listen with sshd, published container ports and what its settings declare. For anything else
that is meant to be there, say so in the host's data, as "program:port" or "program":   _verify_listeners = ["node_exporter:9100"]
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from testinfra.host import Host

from roles.cards import NvidiaDevices, parse_devices
from roles.inventory import InventoryError
from roles.layout import ADAPTER_TOKEN, OUR_UNITS, PHASE_TARGETS
from roles.phases import with_phases_decided
from roles.site import Site
from tests.verify.connection import Connection, Connections
from tests.verify.journal import seconds_of
from tests.verify.options import SHARED
from tests.verify.recording import NAME, Recorder
from tests.verify.seen import (
    ABOUT_COMMAND,
    UNIT_PROPERTIES,
    Listener,
    Owner,
    Unit,
    differences,
    owners_command,
    parse_about,
    parse_listeners,
    parse_owners,
    parse_units,
)
from tests.verify.targets import Target, read_targets
from tests.verify.unknown import fail_as_unknown
from tests.verify.web import Endpoint, is_any, url_of

Run = Callable[[str], tuple[int, str, str]]
Expect = Callable[[str, Mapping[str, object], Mapping[str, object]], None]

COMMAND = "pytest tests/verify --inventory inventory"
_TARGETS = pytest.StashKey[list[Target]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("verify", "verification of deployed hosts (tests/verify)")
    group.addoption("--inventory", help="pyinfra inventory: directory, file or host names (default: $VERIFY_INVENTORY)")
    for name, words in SHARED.items():
        group.addoption(name, **words)
    group.addoption("--only-host", metavar="NAME", help="of the hosts that are left, this one")
    group.addoption(
        "--record", metavar="FILE", help="write what came of --only-host's checks, for python -m tests.verify"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "phase(number): for hosts in this phase only")
    config.addinivalue_line("markers", "gpu: for hosts with an NVIDIA card; run on pretended ones only, so far")
    config.addinivalue_line("markers", "full: slow, or asks a model for something; not with --quick")
    config.addinivalue_line("markers", "warning: the host serves all the same when it is not so")
    if record := config.getoption("record", None):
        config.pluginmanager.register(Recorder(config.getoption("only_host") or "", Path(record)), NAME)


def pytest_sessionstart(session: pytest.Session) -> None:
    inventory = _inventory(session.config)
    if inventory is None:
        return
    options = session.config.option
    if options.tbstyle == "auto":
        options.tbstyle = "short"  # the message says it all; the source of the check is a detail
    try:
        seconds_of(options.journal_window)
        targets = read_targets(inventory, options.limit, options.data, dict(os.environ))
    except (InventoryError, ValueError) as problem:
        raise pytest.UsageError(str(problem)) from None
    session.config.stash[_TARGETS] = [one for one in targets if options.only_host in (None, one.name)]


def pytest_report_header(config: pytest.Config) -> list[str]:
    targets = config.stash.get(_TARGETS, [])
    return (
        [f"verify: {len(targets)} host(s) of {_inventory(config)}: {', '.join(map(_label, targets))}"]
        if targets
        else []
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick", False):
        full = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]


def _label(target: Target) -> str:
    site = target.site_or_problems
    return f"{target.name} (Phase {site.phase})" if isinstance(site, Site) else f"{target.name} (settings refused)"


def _inventory(config: pytest.Config) -> str | None:
    return config.getoption("inventory", None) or os.environ.get("VERIFY_INVENTORY") or None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once per host that it is meant for; where there is none, once as skipped, with the reason."""
    if "target" not in metafunc.fixturenames:
        return
    marks = {name: metafunc.definition.get_closest_marker(name) for name in ("phase", "gpu")}
    phase, gpu = marks["phase"].args[0] if marks["phase"] else None, marks["gpu"] is not None
    everyone = metafunc.config.stash.get(_TARGETS, [])
    chosen = [pytest.param(target, id=target.name) for target in everyone if _is_meant(target, phase, gpu)]
    if not chosen:
        inventory = _inventory(metafunc.config)
        if inventory is None:
            reason = f"no inventory given; verify hosts with: {COMMAND}"
        elif not everyone:
            reason = f"{inventory} names no host; verify hosts with: {COMMAND}"
        else:
            kind = "with a GPU" if gpu else f"in Phase {phase}"
            reason = f"only for hosts {kind}" if len(everyone) == 1 else f"no host {kind} in {inventory}"
        chosen = [pytest.param(None, id="no host", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize("target", chosen, indirect=True, scope="session")


def _is_meant(target: Target, phase: int | None, gpu: bool) -> bool:
    site = target.site_or_problems
    if not isinstance(site, Site):
        return True  # every test of it fails with its problems
    return phase in (None, site.phase) and (not gpu or site.gpu == "nvidia")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    chosen: Target = request.param
    return chosen


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> str:
    """The inventory as it was named; only checks of its hosts ask for it."""
    return _inventory(pytestconfig) or ""


@pytest.fixture(scope="session")
def settings(target: Target) -> Site:
    """The host's settings, exactly as deploy sees them."""
    told = target.site_or_problems
    if not isinstance(told, Site):
        fail_as_unknown(f"{target.name}: its settings are refused:\n  " + "\n  ".join(told))
    return told


@pytest.fixture(scope="session")
def site(settings: Site, request: pytest.FixtureRequest) -> Site:
    """The settings with what the host's cards decide."""
    if settings.prepare != "auto" or settings.phase == 2 or settings.gpu == "none":
        return settings
    run: Run = request.getfixturevalue("run")
    return with_phases_decided(settings, parse_devices(run(NvidiaDevices().command())[1].splitlines()))


@pytest.fixture
def both_phases(target: Target, site: Site) -> None:
    """For sentences about Phase 2 on a host of Phase 1: skips where it is for Phase 1 alone."""
    if not site.prepares_phase_2:
        pytest.skip(f"{target.name} is for Phase 1 alone (prepare)")


@pytest.fixture(scope="session")
def connections() -> Iterator[Connections]:
    opened = Connections()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def connection(target: Target, settings: Site, connections: Connections, pytestconfig: pytest.Config) -> Connection:
    """The way to the host, tried: root answers there. Otherwise every test of the host fails, saying why."""
    if target.obstacle:
        fail_as_unknown(f"{target.name}: {target.obstacle}")
    opened = connections.to(target)
    answer = opened.run("id -u")
    if answer.stdout.strip() != "0":
        seen = answer.stderr.strip() or f"uid {answer.stdout.strip()}"
        fail_as_unknown(f'{target.name}: root needed, seen {seen}\n  ssh_user = "root", or _sudo = True')
    recorder: Recorder | None = pytestconfig.pluginmanager.get_plugin(NAME)
    if recorder:
        recorder.about = parse_about(opened.run("sh -c %s", ABOUT_COMMAND).stdout)
    return opened


@pytest.fixture(scope="session")
def host(connection: Connection) -> Host:
    """testinfra's view of the host."""
    return Host(connection)


@pytest.fixture(scope="session")
def run(connection: Connection) -> Run:
    """Runs a shell command on the host: exit status, stdout, stderr."""

    def in_shell(command: str) -> tuple[int, str, str]:
        done = connection.run("sh -c %s", command)
        return done.rc, done.stdout, done.stderr

    return in_shell


@pytest.fixture(scope="session")
def expect(target: Target) -> Expect:
    """`expect("what", wanted, seen)` fails with the host and every key of `wanted` that `seen` has otherwise."""

    def compare(about: str, wanted: Mapping[str, object], seen: Mapping[str, object]) -> None:
        __tracebackhide__ = True
        if wrong := differences(wanted, seen):
            pytest.fail(f"{target.name}: {about}\n  " + "\n  ".join(wrong), pytrace=False)

    return compare


@pytest.fixture(scope="session")
def units(run: Run) -> dict[str, Unit]:
    """All units of this project, by name, as systemd tells them."""
    names = " ".join(sorted({*OUR_UNITS, *PHASE_TARGETS.values()}))
    return parse_units(run(f"systemctl show --property={','.join(UNIT_PROPERTIES)} -- {names}")[1])


@pytest.fixture(scope="session")
def listeners(run: Run) -> list[Listener]:
    """Every TCP socket that listens."""
    return parse_listeners(run("ss -Hltnp")[1])


@pytest.fixture(scope="session")
def owners(run: Run, listeners: list[Listener]) -> dict[int, Owner]:
    """The processes that listen, by pid."""
    return parse_owners(run(owners_command(pid for listener in listeners for pid in listener.programs))[1])


@pytest.fixture(scope="session")
def endpoint(target: Target, run: Run) -> Callable[[str, int], Endpoint]:
    """`endpoint(address, port)`: a server of the host, asked on the host itself."""

    def at(address: str, port: int) -> Endpoint:
        local = ("::1" if ":" in address else "127.0.0.1") if is_any(address) else address
        return Endpoint(target.name, url_of(local, port), run)

    return at


@pytest.fixture(scope="session")
def vllm(site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    return endpoint("127.0.0.1", site.vllm.port)


@pytest.fixture(scope="session")
def adapter(site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    asked = endpoint(site.adapter.address, site.adapter.port)
    return dataclasses.replace(asked, token_file=ADAPTER_TOKEN) if site.adapter.require_token else asked


@pytest.fixture(scope="session")
def vision(site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    return endpoint(site.ollama.address, site.ollama.vision.port)


@pytest.fixture(scope="session")
def text(site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    """Phase 1's server of the text models."""
    return endpoint(site.ollama.address, site.ollama.text.port)
