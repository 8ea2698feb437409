"""No error lines in the journal of any unit of ours: the success criterion "no errors in logs after 5 minutes"."""

from __future__ import annotations

import pytest

from roles.layout import LIBEXEC
from roles.phases import unit_files
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.journal import command, errors, parse, seconds
from tests.verify.targets import Target

SHOWN = 5


def test_no_unit_of_ours_has_said_error_lately(
    target: Target, site: Site, run: Run, request: pytest.FixtureRequest
) -> None:
    __tracebackhide__ = True
    window = seconds(request.config.getoption("journal_window"))
    if not window:
        pytest.skip("--journal-window 0")
    status, out, err = run(command([*unit_files(site), "llm-check.service"], window))
    if status:
        pytest.fail(f"{target.name}: journalctl: {err.strip()}", pytrace=False)
    found = errors(parse(out))
    if found:
        lines = "\n  ".join(map(str, found[-SHOWN:]))
        pytest.fail(
            f"{target.name}: {len(found)} error lines in the last {window} s, the last ones:\n  {lines}\n"
            "  journalctl -u UNIT shows what was around them; --journal-window 60 looks back a minute only",
            pytrace=False,
        )


def test_the_hosts_own_check_passes(run: Run, expect: Expect) -> None:
    status, out, err = run(f"{LIBEXEC}/llm-check")
    expect(f"{LIBEXEC}/llm-check", {"status": 0, "said": ""}, {"status": status, "said": f"{out}{err}".strip()})
