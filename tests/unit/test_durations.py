"""Where the time of the tests went."""

from __future__ import annotations

from tests.durations import by_file, told

REPORT = """<testsuites><testsuite>
<testcase classname="tests.lab.test_deploy" name="test_one" time="100.5" />
<testcase classname="tests.unit.test_pins" name="test_quick" time="0.25" />
<testcase classname="tests.lab.test_deploy" name="test_two[x]" time="30"><failure message="no">…</failure></testcase>
<testcase classname="tests.lab.test_gpus" name="test_three" time="61" />
</testsuite></testsuites>"""


def test_files_are_told_with_their_sums_the_slowest_first() -> None:
    files = by_file(REPORT)
    assert [(file.name, file.tests, file.seconds) for file in files] == [
        ("tests/lab/test_deploy.py", 2, 130.5),
        ("tests/lab/test_gpus.py", 1, 61.0),
        ("tests/unit/test_pins.py", 1, 0.25),
    ]
    assert told(files, most=1) == [
        "4 tests took 3:11 min; the slowest files:",
        " 2:10 min     2  tests/lab/test_deploy.py",
        " 1:01 min     2  in 2 others",
    ]
    assert len(told(files)) == 4
