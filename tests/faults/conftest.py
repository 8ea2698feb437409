"""Faults on real hosts: `make test-faults`. What came of each goes into the table of docs/faults.md, also when it fails.

    FAULTS="-k disk"                 some of them; the other rows stay
    FAULTS_SEED=7                    other moments for the power to go; the default is printed, and in the table
    LLM_LAB_TEST_SUFFIX, LLM_LAB_TEST_KEEP   as in tests/lab

One deployed host bears most of them, one after the other; `host` brings it back to Phase 2 before each.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from datetime import date
from pathlib import Path

import pytest

from lab import Host, Lab
from tests.checkout import commit
from tests.faults.disk import Disk
from tests.faults.runs import HUB_ELSEWHERE, Record, converge
from tests.faults.table import Row, cause_of, row_of, rows_of, updated, with_rows
from tests.lab.conftest import KEEP, lab, make_host, operator
from tests.lab.deployments import CHECKOUT, Operator

__all__ = [
    "lab",
    "make_host",
    "operator",
]  # fixtures; `tidied`, which destroys hosts after each file, is not among them
PAGE = CHECKOUT / "docs" / "faults.md"
FOLDER = Path(__file__).parent
SEED = int(os.environ.get("FAULTS_SEED") or 20261129)
LEFT_BY_FAULTS = f"rm -rf /run/systemd/system/*.service.d/fault.conf {HUB_ELSEWHERE}; systemctl daemon-reload"
SERVES_PHASE_2 = """llm-phase --json | grep -q '"serving": 2.*"as_recorded": true'"""
_order: list[str] = []
_failed = pytest.StashKey[str]()
_seen = pytest.StashKey[str]()


def pytest_report_header() -> str:
    return f"faults: FAULTS_SEED={SEED}"


def pytest_configure(config: pytest.Config) -> None:
    machine = f"{os.cpu_count()} cores, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    # Now: the table itself is a change to the checkout.
    config.stash[_seen] = f"{date.today().isoformat()}, {commit()}, {machine}"


@pytest.hookimpl(tryfirst=True)  # before -k takes some away: a row of a test that was not chosen keeps its place
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.path.is_relative_to(FOLDER)]
    for item in mine:
        item.add_marker("faults")
        if (fault := fault_of(item)) not in _order:
            _order.append(fault)


def fault_of(item: pytest.Item) -> str:
    """What a test breaks, in words: `@pytest.mark.fault("…")`, or of a parameter."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        raise pytest.UsageError(f"{item.nodeid}: what does it break? @pytest.mark.fault(…) is missing")
    return str(marker.args[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None:
        text = f"{call.excinfo.typename}: {cause_of(str(call.excinfo.value))}"
        write(item, row_of(fault_of(item), f"**failed** in {report.when}: {text}", None, item.config.stash[_seen]))
    return report


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """The row of this test; written when it is called, so call it last."""

    def told(what_happened: str, seconds: float | None) -> None:
        write(request.node, row_of(fault_of(request.node), what_happened, seconds, request.config.stash[_seen]))

    return told


def write(item: pytest.Item, row: Row) -> None:
    whole = [Path(word).resolve() for word in item.config.args] == [FOLDER]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_rows(page, updated(rows_of(page), row, _order, whole)), encoding="utf-8")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same dice for a test whichever others run; other ones by FAULTS_SEED."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def disk(lab: Lab) -> Iterator[Disk]:
    """The one disk of all hosts; everything that makes a host asks for it first."""
    made = Disk(lab)
    made.ensure()
    yield made
    if not KEEP:
        lab.destroy([host.name for host in lab.hosts()])
        made.remove()


@pytest.fixture(scope="session")
def deployed(disk: Disk, operator: Operator, make_host: Callable[..., Host]) -> Host:
    """The host that bears most faults, as it is."""
    return make_host("fault-phase2")


@pytest.fixture
def host(deployed: Host, disk: Disk, operator: Operator) -> Host:
    """It serves Phase 2, with nothing left of the fault before. What a test breaks it mends itself: a plain deploy must do."""
    disk.empty()
    deployed.heal()
    operator.lab.up([deployed.name])
    as_it_was = deployed.ssh(f"test ! -e {HUB_ELSEWHERE} && {SERVES_PHASE_2}", check=False).returncode == 0
    deployed.ssh(LEFT_BY_FAULTS)
    if not as_it_was:
        converge(operator, deployed)
    return deployed
