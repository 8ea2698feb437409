from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli import README, RESULTS
from bench.readme import BEGIN, END, with_summary
from bench.table import summary


def test_a_summary_replaces_the_one_before_and_nothing_else() -> None:
    once = with_summary(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n")
    assert once == f"a\n{BEGIN}\nnew\n{END}\nb\n"
    assert with_summary(once, "new\n") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_readme_without_a_place_for_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="make bench"):
        with_summary(text, "new")


def test_the_readme_shows_what_was_measured_last() -> None:
    newest: Path = max(RESULTS.glob("*.json"), key=lambda path: json.loads(path.read_text())["date"])
    text = README.read_text(encoding="utf-8")
    assert with_summary(text, summary(json.loads(newest.read_text(encoding="utf-8")))) == text
