"""`python -m tests` passes only when every run of pytest does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.__main__ import run


@pytest.fixture(autouse=True)
def at_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # files to run again are named from there


TESTS = """
import pytest

@pytest.mark.one
def test_one(): assert {one}

@pytest.mark.two
def test_two(): assert {two}
"""


@pytest.mark.parametrize(("one", "two", "status"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_a_failure_in_either_run_is_a_failure(
    one: bool, two: bool, status: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    one\n    two\n")
    file = tmp_path / "test_it.py"
    file.write_text(TESTS.format(one=one, two=two))
    words = ["-q", "-c", str(tmp_path / "pytest.ini"), str(file)]
    assert run({"first": "one", "second": "two"}, words) == status
    said = capfd.readouterr().out
    assert "first  | " in said
    assert ("second | did not pass" in said) is not two
    assert said.count("1 test took 0:00 min; the slowest files:") == 2


def test_a_run_without_a_test_is_no_failure_unless_no_run_has_one(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    one\n    two\n")
    file = tmp_path / "test_it.py"
    file.write_text(TESTS.format(one=True, two=True))
    words = ["-q", "-c", str(tmp_path / "pytest.ini"), str(file), "-k"]
    assert run({"first": "one", "second": "two"}, [*words, "test_one"]) == 0
    assert run({"first": "one", "second": "two"}, [*words, "misspelt"]) == 5


LATE = """
import pathlib, pytest

@pytest.mark.one
def test_late():
    seen = pathlib.Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first

made = []

@pytest.mark.one
def test_first(): made.append("a host")

@pytest.mark.one
def test_that_goes_on_from_the_first():
    seen = pathlib.Path(__file__).with_suffix(".seen2")
    late = not seen.exists()
    seen.touch()
    assert made and not late

@pytest.mark.two
def test_two(): pass
"""


def test_what_fails_beside_the_other_run_and_passes_alone_is_told_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    one\n    two\n")
    file = tmp_path / "test_it.py"
    file.write_text(LATE)
    words = ["-q", "-c", str(tmp_path / "pytest.ini"), str(file)]
    assert run({"first": "one", "second": "two"}, words) == 0
    said = capfd.readouterr().out
    assert "test_it.py::test_late" in said
    assert "first  | did not pass (status 1)" in said
    assert "       | these passed when they ran by themselves" in said
