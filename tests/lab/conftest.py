"""Hosts for tests: real ones, in a lab beside the one that `make demo` uses, destroyed when the session ends.

    def test_something(make_host):
        host = make_host("web")          # boots `t-web`, or returns the running one
        assert host.ssh("hostname").stdout == "t-web\\n"

LLM_LAB_TEST_SUFFIX names another test lab (for two sessions at the same time), LLM_LAB_TEST_KEEP=1 keeps the hosts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Host, Lab
from lab.locking import locked
from lab.progress import to_stderr
from lab.support import reason_not_to_run
from tests.lab.deployments import SUFFIX, Operator, operator_of

CHECKOUT = Path(__file__).resolve().parents[2]
KEEP = os.environ.get("LLM_LAB_TEST_KEEP") == "1"
PREFIX = "t-"
SHARED = {f"{PREFIX}phase1", f"{PREFIX}phase2"}  # of `served`, for many files


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The test lab, empty at the start; one session at a time has it. Skips where no lab can run."""
    reason = reason_not_to_run()
    if reason is not None:
        pytest.skip(f"no lab on this machine: {reason}")
    test_lab = Lab.for_checkout(CHECKOUT, suffix=SUFFIX)
    # Beside the lab's directory, not in it: `destroy_all` removes that.
    in_use = test_lab.state / f"{test_lab.names.lab_id}.session"
    with locked(in_use, "the test lab", to_stderr(), timeout_s=3600):
        try:
            if not KEEP:
                test_lab.destroy_all()  # a session that was killed left its hosts
            yield test_lab
        finally:
            if not KEEP:
                test_lab.destroy_all()
            in_use.unlink()
            if not any(test_lab.state.iterdir()):
                test_lab.state.rmdir()


@pytest.fixture(scope="module", autouse=True)
def tidied(lab: Lab) -> Iterator[None]:
    """Hosts of a file of tests go with it: each takes memory, and of a user's 128 inotify instances about seven."""
    yield
    if not KEEP:
        lab.destroy([host.name for host in lab.hosts() if host.name not in SHARED])


@pytest.fixture(scope="session")
def make_host(lab: Lab) -> Callable[..., Host]:
    """Boot a throwaway host, or several at once: `make_host("a")`, `make_host("a", memory_bytes=…, binds=[…])`."""

    def make(name: str, **options: object) -> Host:
        return lab.up([PREFIX + name], **options)[0]  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def host_factory(make_host: Callable[..., Host]) -> Callable[..., Host]:
    """The same under the name that test frameworks use."""
    return make_host


@pytest.fixture(scope="session")
def operator(lab: Lab) -> Operator:
    """Somebody who deploys to this lab; the mirrors run."""
    return operator_of(lab)


@pytest.fixture(scope="session")
def served(operator: Operator, make_host: Callable[..., Host]) -> tuple[Host, Host]:
    """Two deployed hosts, (Phase 2, Phase 1). A test that changes them leaves them as it found them."""
    hosts = make_host("phase2"), make_host("phase1")
    result = operator.deploy(hosts=list(hosts))
    assert result.status == 0, result.output
    return hosts
