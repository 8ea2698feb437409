from __future__ import annotations

import math
from typing import Any

import pytest

from ollama_adapter.ollama.options import BadOption, read_options, to_sampling_fields

CONTEXT = 2048


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"temperature": 9.0}, {"temperature": 2.0}),
        ({"temperature": -1.0}, {"temperature": 0.0}),
        ({"top_p": 0.0}, {"top_p": 1e-6}),
        ({"top_p": 2.0}, {"top_p": 1.0}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"top_k": -5}, {"top_k": 0}),
        ({"min_p": 2.0}, {"min_p": 1.0}),
        ({"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"repeat_penalty": 0.0}, {}),
        ({"presence_penalty": 5.0, "frequency_penalty": -5.0}, {"presence_penalty": 2.0, "frequency_penalty": -2.0}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": -1}, {}),
        ({"num_predict": 5}, {"max_tokens": 5}),
        ({"num_predict": 10**6}, {"max_tokens": CONTEXT}),
        ({"num_predict": 0}, {}),
        ({"num_predict": -1}, {}),
        ({"num_predict": -2}, {}),
        ({"stop": ["a", "", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": [""]}, {}),
        ({"num_ctx": 10**9, "num_gpu": 1, "typical_p": 0.5, "repeat_last_n": 3}, {}),
    ],
)
def test_an_option_has_its_counterpart_inside_vllms_range(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert to_sampling_fields(options, CONTEXT) == fields


def test_more_than_four_stop_strings_are_passed_on() -> None:
    stop = ["a", "b", "c", "d", "e"]
    assert to_sampling_fields({"stop": stop}, CONTEXT) == {"stop": stop}


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("num_ctx", "8192", "integer"),
        ("num_predict", True, "integer"),
        ("seed", math.inf, "integer"),
        ("temperature", "hot", "float32"),
        ("top_p", [], "float32"),
        ("use_mmap", 1, "boolean"),
        ("stop", "x", "array"),
        ("stop", 5, "array"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(name: str, value: Any, kind: str) -> None:
    with pytest.raises(BadOption) as caught:
        read_options({name: value})
    assert str(caught.value) == f'option "{name}" must be of type {kind}'


def test_a_stop_that_is_no_string_is_named() -> None:
    with pytest.raises(BadOption, match='option "stop" must be of an array of strings'):
        read_options({"stop": ["a", 1]})


def test_fractions_for_integers_are_cut_off_and_unknown_names_are_ignored() -> None:
    options = {"num_ctx": 8192.0, "num_predict": 2.7, "mirostat": "x", "frobnicate": {}, "seed": None, "temperature": 1}
    assert read_options(options) == {"num_ctx": 8192, "num_predict": 2, "temperature": 1.0}
