"""The table of the long tests."""

from __future__ import annotations

from tests.long import PAGE, PART, rows, table

REPORT = """<testsuites><testsuite>
<testcase classname="tests.lab.test_bundle" name="test_a_bundle_is_made" time="61.2" />
<testcase classname="tests.lab.test_bundle" name="test_it_serves" time="0.4"><failure message="no">…</failure></testcase>
<testcase classname="tests.lab.test_bundle" name="test_later" time="0.0"><skipped message="no lab" /></testcase>
</testsuite></testsuites>"""


def test_each_test_has_a_row_with_what_came_of_it() -> None:
    text = table(rows(REPORT), "2026-11-29, abc, 2 cores")
    assert "Seen: 2026-11-29, abc, 2 cores." in text
    assert "| tests/lab/test_bundle.py | test a bundle is made | passed | 61 |" in text
    assert "| tests/lab/test_bundle.py | test it serves | **failed** | 0 |" in text
    assert "| tests/lab/test_bundle.py | test later | skipped | 0 |" in text


def test_the_page_has_its_place_for_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert PART.replaced(text, PART.of(text).removeprefix("\n")) == text
