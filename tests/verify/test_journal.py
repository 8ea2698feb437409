"""The journal: no unit of ours has written an error lately."""

from __future__ import annotations

import pytest

from roles.layout import LIBEXEC
from roles.phases import unit_files
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.journal import clock_command, errors, journal_command, parse_lines, parse_spans, seconds_of, told
from tests.verify.targets import Target

CHECK = "llm-check.service"


@pytest.mark.warning
def test_no_unit_wrote_an_error_into_its_journal_lately(
    target: Target, site: Site, run: Run, request: pytest.FixtureRequest
) -> None:
    window = request.config.getoption("journal_window")
    services = [CHECK, *(unit for unit in unit_files(site) if unit.endswith(".service"))]
    spans = parse_spans(run(clock_command(services))[1], seconds_of(window))
    code, out, err = run(journal_command(services, min(span.since for span in spans.values())))
    assert code == 0, f"{target.name}: expected to read the journal, seen {err.strip()}"
    if found := errors(parse_lines(out), spans):
        pytest.fail(f"{target.name}: {told(found, window)}", pytrace=False)


def test_the_hosts_own_check_passes(run: Run, expect: Expect) -> None:
    status, out, err = run(f"{LIBEXEC}/llm-check")
    expect(f"{LIBEXEC}/llm-check", {"status": 0, "said": ""}, {"status": status, "said": f"{out}{err}".strip()})
