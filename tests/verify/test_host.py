"""The host as a whole."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from roles.layout import LIBEXEC
from tests.verify.conftest import Expect, Run
from tests.verify.targets import Target


def test_the_host_answers_over_ssh_as_root(host: Host) -> None:
    assert host.user().name == "root"


@pytest.mark.warning
def test_no_unit_of_the_host_has_failed(target: Target, run: Run) -> None:
    failed = run("systemctl list-units --failed --all --plain --no-legend")[1].split("\n")
    names = [line.split()[0] for line in failed if line.strip()]
    if names:
        journal = run(f"journalctl -u {names[0]} -n 5 -o cat --no-pager")[1].strip()
        pytest.fail(
            f"{target.name}: failed units: {', '.join(names)}\n  {names[0]} last said: {journal}", pytrace=False
        )


def test_the_hosts_own_check_passes(run: Run, expect: Expect) -> None:
    status, out, err = run(f"{LIBEXEC}/llm-check")
    expect(f"{LIBEXEC}/llm-check", {"status": 0, "said": ""}, {"status": status, "said": f"{out}{err}".strip()})
