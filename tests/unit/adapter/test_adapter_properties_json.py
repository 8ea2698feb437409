"""Promises of the readers of JSON, times, names and options, and of the translation for vLLM, for every input."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ollama_adapter.go.json import BadBody, decode, quote, raw_members
from ollama_adapter.ollama.names import InvalidName, parse
from ollama_adapter.ollama.options import BadOption, read_options, to_sampling_fields, top_level_options
from ollama_adapter.ollama.times import DurationError, Stamps, epoch_of, parse_duration
from tests.fuzz.examples import every
from tests.fuzz.json_target import check_json, check_sampling, check_translation, same

words = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.one_of(st.integers(), st.integers(-(2**80), 2**80), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=10,
)


# JSON


@every(150)
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_a_document_is_read_as_python_reads_it(value: Any, is_ascii: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()
    assert same(decode(body), json.loads(body))


@every()
@given(values, st.sampled_from([b"", b" x", b"{", b"]", b'{"second":1}']))
def test_what_follows_the_first_value_is_ignored(value: Any, after: bytes) -> None:
    body = json.dumps({"first": value}).encode()
    assert same(decode(body + after), json.loads(body))


@every(300)
@given(values, st.integers(0, 200))
def test_a_document_that_was_cut_off_is_refused(value: Any, cut: int) -> None:
    body = json.dumps({"a": value}).encode()
    assume(cut < len(body))
    with pytest.raises(BadBody, match=r"unexpected EOF|missing request body"):
        decode(body[:cut])


@every(400)
@given(st.one_of(st.binary(max_size=40), st.text('{}[]:,"\\u0dx1e-+. tfn', max_size=40).map(str.encode)))
@example(b'{"a":"\xff"}')
@example(b'{"format":"\x80"}')  # once a UnicodeDecodeError, found by fuzzing
@example(b'{"keep_alive":' + b"9" * 400 + b"}")  # once an OverflowError
@example(b'{"options":{"top_k":' + b"9" * 400 + b"}}")  # once an OverflowError
@example(b'{"a":' + b"9" * 5000 + b"}")  # once a ValueError: Python's limit of digits
@example(b"[" * 20_000)
@example(b'{"a":' * 3000 + b"1" + b"}" * 3000)
def test_any_bytes_are_read_translated_or_refused_with_a_message(body: bytes) -> None:
    check_json(body)


@every()
@given(st.text())
@example("<\u2028>")
def test_a_text_that_was_quoted_reads_back(text: str) -> None:
    assume(not any("\ud800" <= character < "\ue000" for character in text))
    quoted = quote(text)
    assert json.loads(quoted) == text
    assert not any(character in quoted for character in (b"<", b">", b"&", "\u2028".encode(), "\u2029".encode()))


@every()
@given(st.dictionaries(words, values, max_size=4))
def test_members_are_kept_as_written(value: dict[str, Any]) -> None:
    body = json.dumps(value, indent=1).encode()
    assert {name: json.loads(raw) for name, raw in raw_members(body).items()} == value


# Times

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
parts = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4)


@every()
@given(st.sampled_from(["", "-", "+"]), parts)
def test_a_duration_is_the_sum_of_its_parts(sign: str, said: list[tuple[int, str]]) -> None:
    expected = sum(number * UNITS[unit] for number, unit in said) * (-1 if sign == "-" else 1)
    found = parse_duration(sign + "".join(f"{number}{unit}" for number, unit in said))
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


@every(300)
@given(st.one_of(st.text(max_size=12), st.text("0123456789.+-hmsunµ", max_size=12)))
def test_a_text_is_a_duration_or_refused_in_gos_words(text: str) -> None:
    try:
        assert abs(parse_duration(text)) < 2**63 / 1e9
    except DurationError as error:
        assert str(error).startswith("time: ")


@every()
@given(st.integers(0, 4_000_000_000 * 10**9))
def test_a_stamp_reads_back_to_the_microsecond(epoch_ns: int) -> None:
    assert abs(epoch_of(Stamps().of(epoch_ns).decode()) - epoch_ns / 1e9) < 1e-5


# Names

_letters = st.sampled_from("abzABZ019_")
_words = st.builds(lambda first, rest: first + rest, _letters, st.text("abZ09_-", max_size=6))
models = st.tuples(
    st.none() | _words.filter(lambda word: len(word) > 1), st.none() | _words, _words, st.none() | _words
)


def written(host: str | None, namespace: str | None, model: str, tag: str | None) -> str:
    if host is not None:
        namespace = namespace or "library"
    front = "".join(f"{part}/" for part in (host, namespace) if part is not None)
    return f"{front}{model}{'' if tag is None else ':' + tag}"


@every(300)
@given(models)
def test_every_way_to_write_a_name_means_one_model(parts: tuple[str | None, str | None, str, str | None]) -> None:
    host, namespace, model, tag = parts
    name = parse(written(*parts))
    full = written(host or "registry.ollama.ai", namespace or "library", model, tag or "latest")
    for same_name in (full, full.upper(), f"https://{full}", f" {full} ", name.display, name.full):
        assert parse(same_name).key == name.key
    assert parse(name.display).display == name.display


@every(300)
@given(st.one_of(st.text(max_size=20), st.text("ab/:.-_ \t\n", max_size=20)))
def test_a_text_is_a_name_or_refused_and_a_name_has_no_way_out(text: str) -> None:
    try:
        name = parse(text)
    except InvalidName:
        return
    assert ".." not in (name.host, name.namespace, name.model, name.tag)
    assert not set(name.full) & set(' \t\r\n"\\<>\x00%')


# Options

OPTIONS = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "num_predict",
    "num_ctx",
    "num_gpu",
    "use_mmap",
    "unknown",
]
wild = st.one_of(values, st.floats(), st.integers(-(10**400), 10**400), st.lists(words, max_size=6))
option_sets = st.dictionaries(st.sampled_from(OPTIONS), wild, max_size=6)
likely = st.dictionaries(
    st.sampled_from([name for name in OPTIONS if name not in ("stop", "use_mmap")]),
    st.one_of(st.floats(-3, 3), st.integers(-3, 3), st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False)),
    max_size=10,
)  # fmt: skip


@every(400)
@given(st.one_of(option_sets, likely))
def test_options_are_refused_or_become_what_vllm_takes(options: dict[str, Any]) -> None:
    try:
        checked = read_options(options)
    except BadOption as error:
        assert str(error).startswith('option "')
        return
    fields = to_sampling_fields(checked, 2048)
    check_sampling(fields)
    json.dumps(fields, allow_nan=False)


@every(150)
@given(option_sets, option_sets)
def test_options_at_the_top_level_never_refuse_a_request(body: dict[str, Any], inside: dict[str, Any]) -> None:
    found = top_level_options(body, inside)
    assert not any(inside.get(name) is not None for name in found)
    check_sampling(to_sampling_fields(found, 2048))


# Whole requests

FIELDS = [
    "model",
    "prompt",
    "messages",
    "role",
    "content",
    "images",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
    "tool_name",
    "tool_call_id",
    "options",
    "format",
    "think",
    "tools",
    "stream",
    "keep_alive",
    "context",
    "raw",
    "suffix",
    "system",
    "template",
    "logprobs",
    "top_logprobs",
    "truncate",
    "shift",
    "type",
    "properties",
]
likely_values = st.one_of(
    numbers,
    words,
    st.booleans(),
    st.none(),
    st.sampled_from(["json", "high", "user", "tool", "assistant", "5m", "aGk="]),
)
bodies = st.dictionaries(
    st.sampled_from(FIELDS),
    st.recursive(
        likely_values,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
        ),
        max_leaves=10,
    ),
    max_size=8,
)
_functions = st.fixed_dictionaries({"name": words, "arguments": st.dictionaries(words, values, max_size=2)})
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "Tool", "x"])},
        optional={
            "content": words,
            "thinking": words,
            "tool_name": words,
            "tool_call_id": words,
            "images": st.just(["aGk="]),
            "tool_calls": st.lists(st.fixed_dictionaries({"function": _functions}), max_size=2),
        },
    ),
    max_size=4,
)


@every(120)
@given(bodies)
def test_a_body_of_any_shape_is_translated_or_refused_in_a_documented_way(body: dict[str, Any]) -> None:
    check_translation("generate", json.dumps(body).encode())
    check_translation("chat", json.dumps(body).encode())


@every(300)
@given(messages, likely)
def test_a_chat_that_is_well_formed_is_always_translated(said: list[dict[str, Any]], options: dict[str, Any]) -> None:
    fields = check_translation("chat", json.dumps({"model": "m", "messages": said, "options": options}).encode())
    assert fields is not None
    assert [message["role"] for message in fields["messages"]] == [message["role"].lower() for message in said]
    for message in fields["messages"]:
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            assert call["id"]
        assert message["role"] != "tool" or message["tool_call_id"]
