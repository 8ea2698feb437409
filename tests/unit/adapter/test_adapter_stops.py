from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_adapter.vllm.stops import StopFinder, most_stops


def said(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    finder = StopFinder(stops)
    return "".join(map(finder.feed, pieces)) + finder.rest(), finder.is_found


_texts = st.text("ab\n", max_size=8)


@given(st.lists(_texts, max_size=6), st.lists(_texts, max_size=4))
def test_a_text_ends_in_front_of_the_first_stop_string_however_it_was_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    found = [text.find(stop) for stop in stops if stop and stop in text]
    shown, is_found = said(pieces, stops)
    assert is_found == bool(found)
    # With text that comes in pieces a longer stop string that begins earlier may still be open when a shorter one is
    # complete: then the shorter one ends the answer, as it does in vLLM, which looks after every token.
    assert text.startswith(shown)
    if found:
        assert len(shown) >= min(found)
    else:
        assert shown == text


@given(_texts, st.lists(_texts, max_size=4))
def test_nothing_of_a_stop_string_is_ever_shown(text: str, stops: list[str]) -> None:
    finder = StopFinder(stops)
    shown = ""
    for character in text:
        shown += finder.feed(character)
        assert not any(stop in shown for stop in stops if stop)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    finder = StopFinder(["<end>"])
    assert [finder.feed(piece) for piece in ("a<", "b<e", "n", "x", "<end>c", "d")] == ["a", "<b", "", "<enx", "", ""]


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (
            "2 validation errors:\n  {'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid string', "
            "'input': '<list of 70 items>'}\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most "
            "64 items after validation, not 70'}",
            64,
        ),
        ("'loc': 'body.tools', 'msg': 'List should have at most 4 items'", None),
        ("boom", None),
    ],
)
def test_vllm_tells_how_many_stop_strings_it_takes(message: str, most: int | None) -> None:
    assert most_stops(message) == most
