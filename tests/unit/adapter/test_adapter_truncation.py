from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_adapter.ollama.requests import TextRequest
from ollama_adapter.ollama.truncation import (
    MessageSearch,
    block_start,
    from_message,
    shortened,
    text_size,
    too_long,
    window,
)
from ollama_adapter.vllm.fitting import needs_counting
from ollama_adapter.vllm.frames import is_overflow
from ollama_adapter.vllm.to_vllm import TextModel

MODEL = TextModel("llm", 2048, frozenset(), True, {})


def roles(text: str) -> list[dict[str, Any]]:
    """Messages by the first letters of their roles; an upper-case A calls a tool."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [
        {"role": names[letter.lower()], "content": str(number), **({"tool_calls": [{}]} if letter == "A" else {})}
        for number, letter in enumerate(text)
    ]


def role(message: dict[str, Any]) -> str:
    return str(message["role"])


@pytest.mark.parametrize(
    ("num_ctx", "size"), [(None, 2048), (0, 2048), (-5, 2048), (1, 4), (256, 256), (2048, 2048), (10**9, 2048)]
)
def test_the_context_is_what_is_asked_for_but_not_more_than_there_is(num_ctx: int | None, size: int) -> None:
    assert window(num_ctx, 2048) == size


def test_the_recorded_prompt_keeps_as_many_tokens_as_ollama_did() -> None:
    # gen_long_prompt: 18,003 tokens, num_ctx 256, num_keep 4; prompt_eval_count 131
    tokens = list(range(18_003))
    kept = shortened(tokens, 256, None, has_front=True)
    assert (len(kept), kept[:6], kept[-1]) == (131, [0, 1, 2, 3, 4, 17_877], 18_002)


@given(st.integers(4, 300), st.integers(-2, 400), st.booleans(), st.integers(0, 500))
def test_a_shortened_prompt_has_its_beginning_its_end_and_room_for_an_answer(
    limit: int, num_keep: int, has_front: bool, more: int
) -> None:
    tokens = list(range(limit + more))
    kept = shortened(tokens, limit, num_keep, has_front=has_front)
    assert 0 < len(kept) < limit
    keep = min((len(tokens) if num_keep < 0 else num_keep) + has_front, limit - 1)
    assert kept[:keep] == tokens[:keep]
    assert kept[keep:] == tokens[len(tokens) - len(kept) + keep :]


def test_system_messages_stay_when_what_is_around_them_goes() -> None:
    messages = roles("suasu")
    assert [one["content"] for one in from_message(messages, 4, role)] == ["0", "3", "4"]
    assert [one["content"] for one in from_message(messages, 3, role)] == ["0", "3", "4"]
    assert from_message(messages, 0, role) == messages


@pytest.mark.parametrize(
    ("conversation", "start", "begin"),
    [("uAttu", 2, 1), ("uAttu", 3, 1), ("uAttu", 4, 4), ("uAttu", 1, 1), ("uatu", 2, 2), ("tu", 0, 0), ("utu", 1, 1)],
)
def test_results_of_tools_stay_with_their_call(conversation: str, start: int, begin: int) -> None:
    assert block_start(roles(conversation), start) == begin


@given(st.integers(2, 200), st.integers(0, 250))
def test_as_few_messages_as_possible_are_left_out_and_the_last_never(count: int, first_that_fits: int) -> None:
    search = MessageSearch(count)
    questions = 0
    while not search.is_over:
        questions += 1
        search.narrow(search.start >= first_that_fits)
    assert search.start == min(max(first_that_fits, 1), count - 1)
    assert questions <= 8


def test_a_size_in_bytes_is_at_least_the_number_of_tokens() -> None:
    assert text_size([{"content": "abc"}, {"content": "é€", "thinking": "x"}]) == 3 + 5 + 1
    assert text_size([{"content": "", "images": [b"1", b"2"]}]) == 2 * 768


@pytest.mark.parametrize(
    ("num_ctx", "prompt", "shift", "counted"),
    [
        (None, "x" * 10_000, True, False),
        (4096, "x" * 10_000, True, False),
        (2048, "x" * 10_000, True, False),
        (256, "x" * 200, True, False),
        (256, "x" * 256, True, True),
        (256, "x", False, True),
        (None, "x", False, False),
        (-1, "x" * 10_000, True, False),
    ],
)
def test_nobody_counts_without_need(num_ctx: int | None, prompt: str, shift: bool, counted: bool) -> None:
    options = {} if num_ctx is None else {"num_ctx": num_ctx}
    request = TextRequest("generate", "m", prompt=prompt, options=options, shift=shift)
    assert needs_counting(request, MODEL, None) is counted
    assert needs_counting(request, MODEL, prompt) is counted


def test_the_refusal_is_recorded_word_for_word() -> None:
    assert too_long(18_003, 256) == (
        '{"error":{"code":400,"message":"request (18003 tokens) exceeds the available context size (256 tokens), try '
        'increasing it","type":"exceed_context_size_error","n_prompt_tokens":18003,"n_ctx":256}}'
    )
    assert json.loads(too_long(1, 1))["error"]["code"] == 400


@pytest.mark.parametrize(
    ("message", "overflows"),
    [
        ("This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049", True),
        ("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", True),
        ("max_tokens must be at least 1, got -1. (parameter=max_tokens, value=-1)", False),
        ("boom", False),
    ],
)
def test_vllms_refusals_of_long_prompts_are_known(message: str, overflows: bool) -> None:
    assert is_overflow(message) is overflows
