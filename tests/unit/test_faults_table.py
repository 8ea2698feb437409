"""What `make test-faults` reckons without a host: the table's rows, seconds until serving, broken promises."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.promises import Seen, broken_promises
from tests.faults.table import BEGIN, END, Row, cause_of, row_of, rows_of, updated, with_rows
from tests.faults.watch import Asked, seconds_until_served

ROOT = Path(__file__).resolve().parents[2]
PAGE = f"# Faults\n\nwords\n\n{BEGIN}\n{END}\n\nmore words\n"
DISK, POWER, CLOCK = (Row(fault, "it went on", "0.0", "today") for fault in ("disk", "power", "clock"))


def test_rows_come_back_as_they_were_written_and_the_page_around_them_stays() -> None:
    page = with_rows(PAGE, [DISK, POWER])
    assert rows_of(page) == [DISK, POWER]
    assert with_rows(page, []).splitlines()[:3] == PAGE.splitlines()[:3]
    assert page.endswith(f"{END}\n\nmore words\n")


def test_a_text_with_bars_and_lines_stays_one_row() -> None:
    row = row_of("disk", "error | first\nsecond <!-- line", 1.26, "today")
    assert rows_of(with_rows(PAGE, [row])) == [row]
    assert (row.happened, row.seconds) == ("error / first second ‹!-- line", "1.3")


def test_a_failed_test_shows_what_preflight_refused_and_the_end_of_what_was_printed() -> None:
    said = (
        "connected\n  error    packages  dpkg has unfinished work\n"
        + "step\n" * 200
        + "No hosts remaining!\nassert 1 == 0"
    )
    shown = cause_of(said)
    assert shown.startswith("error    packages  dpkg has unfinished work …")
    assert shown.endswith("No hosts remaining!")
    assert len(row_of("cut", shown, None, "today").happened) < 400


def test_a_cause_does_not_say_where_the_checkout_lies() -> None:
    assert cause_of(f"No such file: {ROOT}/deploy.py") == "No such file: deploy.py"


def test_a_run_of_some_faults_leaves_the_rows_of_the_others() -> None:
    new = replace(POWER, happened="it failed")
    assert updated([DISK, POWER, CLOCK], new, ["power"], whole=False) == [new, DISK, CLOCK]
    assert updated([DISK, CLOCK], new, ["disk", "power", "clock"], whole=False) == [DISK, new, CLOCK]


def test_a_whole_run_drops_what_has_no_test_any_more() -> None:
    assert updated([DISK, CLOCK], POWER, ["power", "disk"], whole=True) == [POWER, DISK]


def test_a_page_without_marks_is_no_page() -> None:
    with pytest.raises(ValueError, match="make test-faults"):
        rows_of("# Faults\n")


def asked(*answers: bool) -> list[Asked]:
    """One request each second, answered within half of it."""
    return [Asked(second, second + 0.5, good) for second, good in enumerate(answers)]


def test_seconds_count_from_the_fault_to_the_first_answer_after_the_last_failure() -> None:
    seen = asked(True, True, False, True, False, True, True)
    assert seconds_until_served(seen, since=1.0) == 4.5
    assert seconds_until_served(seen, since=5.0) == 0.0


def test_what_never_comes_back_has_no_seconds() -> None:
    assert seconds_until_served(asked(True, False), since=0.0) is None


HEALTHY = Seen("llm-phase2.target", ("llm-phase.target",), json.dumps({"phase": 2}), {"1": [], "2": []}, ())


def test_a_healthy_host_keeps_every_promise() -> None:
    assert broken_promises(HEALTHY) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"alias": None}, "not exactly one phase"),
        ({"at_boot": ()}, "not exactly one phase"),
        ({"at_boot": ("llm-phase.target", "llm-phase1.target")}, "not exactly one phase"),
        ({"state": '{"phase": '}, "the record is no record"),
        ({"state": "[]"}, "the record is no record"),
        ({"state": '{"phase": 3}'}, "no phase is on record"),
        ({"missing": {"1": [], "2": ["/opt/llm/vllm"]}}, "lacks /opt/llm/vllm"),
        ({"missing": {"1": []}}, "lacks the phase"),
        ({"good": {"r-0123456789ab": False}}, "the last good release, r-0123456789ab, is not on the disk"),
    ],
)
def test_each_promise_can_be_broken(change: dict[str, object], word: str) -> None:
    (said,) = broken_promises(replace(HEALTHY, **change))  # type: ignore[arg-type]
    assert word in said


def test_the_page_can_be_read_and_has_no_row_without_a_test() -> None:
    rows = rows_of((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    source = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests" / "faults").glob("test_*.py")))
    # The rows of the page for the engineer on call are made of its titles.
    words = [re.sub(r"\b\d+$", "", row.fault).rstrip().removeprefix("on call: ") for row in rows]
    assert [text for text in words if text not in source] == []
