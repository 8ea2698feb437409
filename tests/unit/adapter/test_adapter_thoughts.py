from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_adapter.vllm.thoughts import ThoughtSplitter


def split(pieces: Sequence[str], *, is_open: bool = False) -> tuple[str, str]:
    splitter = ThoughtSplitter(is_open=is_open)
    found = [*map(splitter.feed, pieces), splitter.rest()]
    return "".join(thoughts for thoughts, _ in found), "".join(text for _, text in found)


@pytest.mark.parametrize(
    ("text", "is_open", "expected"),
    [
        ("<think>why</think>\n\nso", False, ("why", "so")),
        (" \n<think>\n\n</think>\n\nso", False, ("\n\n", "so")),
        ("why</think>so", True, ("why", "so")),
        (" so <think>no</think>", False, ("", " so <think>no</think>")),
        ("<thin", False, ("", "<thin")),
        ("<think>why</thi", False, ("why</thi", "")),
        ("<think>a</think>b</think>c", False, ("a", "b</think>c")),
    ],
)
def test_thoughts_are_what_stands_between_the_tags(text: str, is_open: bool, expected: tuple[str, str]) -> None:
    assert split([text], is_open=is_open) == split(text, is_open=is_open) == expected


@given(st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", "a", " ", "\n"]), max_size=8))
def test_it_does_not_matter_where_the_text_is_cut(pieces: list[str]) -> None:
    assert split(pieces) == split(["".join(pieces)]) == split("".join(pieces))
