"""A plugin of pytest that writes down what came of each check of one host (`--record FILE`)."""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.verify.records import Check, HostResult, saved, sentence_of, topic_of
from tests.verify.unknown import HostUnknown

NAME = "verify-recorder"


class Recorder:
    """:param host: whose checks these are. :param path: of the file, which is written when the run ends."""

    def __init__(self, host: str, path: Path) -> None:
        self.about: Mapping[str, str] = {}
        self._host, self._path = host, path
        self._checks: dict[str, Check] = {}
        self._began = time.monotonic()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        before = self._checks.get(item.nodeid)
        # One record for each check: its own outcome, or that of the step before or after which went wrong.
        if report.when == "call" or report.outcome != "passed":
            earlier = before.seconds if before else 0.0
            if before is None or before.outcome == "passed":
                self._checks[item.nodeid] = _check(item, call, report, earlier)
        return report

    def pytest_sessionfinish(self) -> None:
        result = HostResult(self._host, time.monotonic() - self._began, self.about, tuple(self._checks.values()))
        self._path.write_text(saved(result), encoding="utf-8")


def _check(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, earlier: float) -> Check:
    function = cast(pytest.Function, item)
    parameters = {key: value for key, value in function.callspec.params.items() if key != "target"}
    return Check(
        topic=topic_of(inspect.getdoc(function.module) or function.module.__name__),
        sentence=sentence_of(function.originalname, ", ".join(map(str, parameters.values()))),
        outcome=report.outcome,
        reason=reason_of(report),
        seconds=round(earlier + report.duration, 3),
        group="full" if item.get_closest_marker("full") else "quick",
        is_warning=item.get_closest_marker("warning") is not None,
        is_unknown=call.excinfo is not None and call.excinfo.errisinstance(HostUnknown),
        note="; ".join(str(value) for name, value in report.user_properties if name == "note"),
    )


def reason_of(report: pytest.TestReport) -> str:
    """The message of a failure or a skip, without the source of the check."""
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message) if crash else report.longreprtext
    # pytest puts the class in front, and explains an assertion below our own words; these are enough.
    return (
        message.removeprefix("AssertionError: ")
        .removeprefix("Failed: ")
        .removeprefix("HostUnknown: ")
        .split("\nassert ")[0]
        .strip()
    )
