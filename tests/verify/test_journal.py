"""The journal: no unit of ours has written an error lately."""

from __future__ import annotations

import pytest

from roles.phases import unit_files
from roles.site import Site
from tests.verify.conftest import Run
from tests.verify.journal import clock_command, errors, journal_command, parse_lines, parse_spans, seconds_of, told
from tests.verify.targets import Target


@pytest.mark.warning
def test_no_unit_of_ours_has_said_error_lately(
    target: Target, site: Site, run: Run, request: pytest.FixtureRequest
) -> None:
    window = request.config.getoption("journal_window")
    if not seconds_of(window):
        pytest.skip(f"--journal-window {window}")
    units = [*unit_files(site), "llm-check.service", *site.monitoring.units(site.gpu)]
    spans = parse_spans(run(clock_command(units))[1], seconds_of(window))
    code, out, err = run(journal_command(units, min(span.since for span in spans.values())))
    assert code == 0, f"{target.name}: expected to read the journal, seen {err.strip()}"
    if found := errors(parse_lines(out), spans):
        pytest.fail(f"{target.name}: {told(found, window)}", pytrace=False)
