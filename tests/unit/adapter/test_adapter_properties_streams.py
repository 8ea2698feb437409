"""Promises of the event stream's reader and of the translation of answers that hold for every input."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_adapter.ollama.lines import LineWriter, Timings
from ollama_adapter.ollama.requests import Kind, TextRequest
from ollama_adapter.ollama.times import Stamps
from ollama_adapter.upstream.sse import SseDecoder
from ollama_adapter.vllm.answers import AnswerStream, BadUpstreamAnswer, WholeAnswer
from tests.fuzz.examples import cuts, every, pieces

# Without lone surrogates, which no UTF-8 carries; with all that needs an escape in JSON, or gets one from Go.
texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        [
            " The",
            '"',
            "\\",
            "\\\\",
            "\\u0041",
            "\n",
            "\x00",
            "\x1f",
            "<b>&",
            "\u2028\u2029",
            "é",
            "€",
            "😀",
            "\x7f",
            "\ufffd",
        ]
    ),
)


def decoded(parts: Sequence[bytes]) -> list[bytes]:
    reader = SseDecoder()
    return [payload for part in parts for payload in reader.feed(part)]


# The event stream


@every(400)
@given(st.text("ad:\r\n \t{", max_size=60).map(str.encode), cuts)
@example(b"data: a\r\r\n\r\ndata: b\n\r\n\n", [8, 9, 10])
def test_a_stream_is_read_alike_however_it_was_cut(stream: bytes, at: list[int]) -> None:
    assert decoded(pieces(b"data: x\n" + stream, at)) == decoded([b"data: x\n" + stream])


_others = st.sampled_from(["event: x", "id: 3", "retry: 1", "data", "datax: y"])
events = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.lists(st.text("ab{}:, \t€", max_size=8), min_size=1, max_size=3)),
        st.tuples(st.just("comment"), st.lists(st.text("ab: ", max_size=8), min_size=1, max_size=2)),
        st.tuples(st.just("other"), st.lists(_others, min_size=1, max_size=2)),
    ),
    max_size=6,
)


@every(300)
@given(events, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["data: ", "data:"]), cuts)
def test_payloads_come_out_whole_and_everything_else_is_dropped(
    said: list[tuple[str, list[str]]], end: str, field: str, at: list[int]
) -> None:
    wire, expected = "", []
    for kind, lines in said:
        start = {"data": field, "comment": ":", "other": ""}[kind]
        wire += "".join(f"{start}{line}{end}" for line in lines) + end
        if kind == "data":  # one blank after the colon belongs to the field
            expected.append("\n".join(line.removeprefix(" ") if field == "data:" else line for line in lines))
    assert decoded(pieces(wire.encode(), at)) == [payload.encode() for payload in expected]


@every()
@given(st.binary(max_size=200), cuts)
def test_any_bytes_are_read_without_a_crash(stream: bytes, at: list[int]) -> None:
    assert decoded(pieces(stream, at)) == decoded([stream])


def test_an_event_in_many_pieces_costs_time_in_proportion_to_its_size() -> None:
    """The reader once joined what it had at each piece: 215 s of processor time for 16 MiB in pieces of 1 KiB."""
    piece, reader = b"x" * 1024, SseDecoder()
    started = time.process_time()
    for _ in range(8 * 1024):
        assert reader.feed(piece) == []
    assert time.process_time() - started < 5


def test_an_event_that_never_ends_is_an_error_and_not_memory() -> None:
    reader = SseDecoder(max_event_bytes=10_000)
    with pytest.raises(ValueError, match="more than 10000 bytes"):
        for _ in range(1000):
            reader.feed(b"data: more\n")


# Answers


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def frame(kind: Kind, text: str | None, finish: str | None, ids: list[int] | None, *, recorded: bool) -> bytes:
    """A chunk with its members in the order of vLLM 0.32.0, or in another one, which only the decoder reads."""
    said: dict[str, Any] = (
        {"delta": {} if text is None else {"content": text}} if kind == "chat" else {"text": text or ""}
    )
    rest: dict[str, Any] = {"logprobs": None, "finish_reason": finish}
    if kind == "generate":
        rest |= {"stop_reason": None, "prompt_token_ids": None}
    choice = {"index": 0, **said, **rest, "token_ids": ids}
    if recorded:
        return dumps({"id": "x", "object": "chunk", "created": 1, "model": "llm", "choices": [choice]})
    turned = dict(reversed(list(choice.items())))
    return dumps({"choices": [turned], "model": "llm", "object": "chunk", "id": "x"})


def stream_of(kind: Kind, *, collect: bool) -> AnswerStream:
    # The completions endpoint serves raw prompts of /api/generate.
    return AnswerStream(TextRequest(kind, "m"), LineWriter(kind, "m"), Stamps(), Timings(), collect=collect)


def answer(kind: Kind, said: list[str], *, collect: bool, recorded: bool) -> tuple[AnswerStream, bytes]:
    stream, out = stream_of(kind, collect=collect), b""
    for number, text in enumerate(said):
        out += stream.feed(frame(kind, text, None, [number] if collect else None, recorded=recorded))
    out += stream.feed(frame(kind, None, "stop", [2] if collect else None, recorded=recorded))
    out += stream.feed(dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(said)}}))
    out += stream.feed(b"[DONE]")
    return stream, out + stream.last_line()


def objects(out: bytes) -> list[dict[str, Any]]:
    """The lines of a stream, each decoded by itself: that UTF-8 is never split shows here."""
    assert out.endswith(b"\n") and b"\n\n" not in out
    return [json.loads(line.decode()) for line in out.removesuffix(b"\n").split(b"\n")]


def text_of(line: dict[str, Any]) -> str:
    return str(line["response"] if "response" in line else line["message"]["content"])


kinds: st.SearchStrategy[Kind] = st.sampled_from(["chat", "generate"])


@every(300)
@given(kinds, st.lists(texts, max_size=8), st.booleans())
def test_a_streams_lines_are_objects_and_say_what_vllm_said(kind: Kind, said: list[str], collect: bool) -> None:
    stream, out = answer(kind, said, collect=collect, recorded=True)
    lines = objects(out)
    assert "".join(map(text_of, lines)) == "".join(said)
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert not stream.error
    if collect:
        assert json.loads(b'"' + b"".join(stream.escaped_text) + b'"') == "".join(said)
        assert b",".join(filter(None, stream.answer_ids)) == b",".join(b"%d" % number for number in range(len(said)))


@every(300)
@given(kinds, st.lists(texts, min_size=1, max_size=8), st.booleans())
def test_the_short_way_and_the_long_way_give_one_result(kind: Kind, said: list[str], collect: bool) -> None:
    short, short_out = answer(kind, said, collect=collect, recorded=True)
    long, long_out = answer(kind, said, collect=collect, recorded=False)
    assert list(map(timeless, objects(short_out))) == list(map(timeless, objects(long_out)))
    assert short_out.count(b"\\u003c") == long_out.count(b"\\u003c"), "Go's escapes are the same on both"
    assert b",".join(filter(None, short.answer_ids)) == b",".join(filter(None, long.answer_ids))
    assert json.loads(b'"%b"' % b"".join(short.escaped_text)) == json.loads(b'"%b"' % b"".join(long.escaped_text))
    assert (short.chunks, short.usage, short.prompt_ids) == (long.chunks, long.usage, long.prompt_ids)


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "created_at" and not name.endswith("_duration")}


def test_the_short_way_is_taken_for_what_vllm_sends() -> None:
    """Else the two tests above would compare the decoder with itself."""
    for kind in ("chat", "generate"):
        stream = stream_of(kind, collect=False)
        stream.feed(frame(kind, "learn", None, None, recorded=True))
        assert stream._plain_line(frame(kind, "x", None, None, recorded=True)) is not None
        assert stream._plain_line(frame(kind, "x", None, None, recorded=False)) is None


frames = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "text",
                    "content",
                    "reasoning",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "index",
                    "finish_reason",
                    "token_ids",
                    "prompt_token_ids",
                    "logprobs",
                    "top_logprobs",
                    "tokens",
                    "token_logprobs",
                    "token",
                    "logprob",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "metrics",
                    "error",
                    "detail",
                    "stop_reason",
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@every(300)
@given(kinds, st.lists(st.one_of(frames.map(dumps), st.binary(max_size=30)), max_size=4), st.booleans())
def test_a_chunk_of_any_shape_is_lines_or_an_error(kind: Kind, payloads: list[bytes], collect: bool) -> None:
    stream, out = stream_of(kind, collect=collect), b""
    for payload in payloads:
        out += stream.feed(payload)
        if stream.error or stream.is_done:
            break
    assert all(line["done"] is False for line in objects(out)) if out else True


@every(300)
@given(kinds, st.one_of(frames.map(dumps), st.binary(max_size=30)))
@example("chat", dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}))
def test_a_whole_answer_of_any_shape_is_an_object_or_refused(kind: Kind, body: bytes) -> None:
    try:
        whole = WholeAnswer(body, TextRequest(kind, "m"), LineWriter(kind, "m"), Timings())
    except BadUpstreamAnswer:
        return
    assert json.loads(whole.body(Stamps().now))["done"] is True
