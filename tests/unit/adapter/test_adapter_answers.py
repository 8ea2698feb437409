from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from ollama_adapter.ollama.lines import LineWriter, Timings
from ollama_adapter.ollama.requests import Kind, TextRequest
from ollama_adapter.ollama.times import Stamps
from ollama_adapter.vllm.answers import AnswerStream, BadUpstreamAnswer, Trimmer, WholeAnswer
from ollama_adapter.vllm.frames import EngineMetrics, Usage, error_text
from ollama_adapter.vllm.thoughts import ThoughtSplitter

USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def chunk(delta: Any = None, *, finish: str | None = None, ids: list[int] | None = None, **more: Any) -> bytes:
    """A chunk byte for byte as vLLM 0.32.0 writes it."""
    ending = {"logprobs": None, "finish_reason": finish, **({"stop_reason": None} if finish else {}), "token_ids": ids}
    choice = {"index": 0, "delta": delta or {}, **ending, **more}
    return dumps(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "llm", "choices": [choice]}
    )


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def stream(kind: Kind = "chat", *, collect: bool = False, **request: Any) -> AnswerStream:
    asked = TextRequest(kind, "m", **request)
    return AnswerStream(asked, LineWriter(kind, "m"), Stamps(), Timings(), collect=collect)


def lines(answer: AnswerStream, *payloads: bytes) -> list[dict[str, Any]]:
    """The objects that payloads make, the last line included where they end the answer."""
    text = b"".join(answer.feed(payload) for payload in payloads)
    if answer.is_done and not answer.error:
        text += answer.last_line()
    return [json.loads(line) for line in text.splitlines()]


def texts(objects: list[dict[str, Any]]) -> list[str]:
    return [line["message"]["content"] for line in objects]


TEXTS = [
    " The",
    " quick",
    '"',
    'a "quote"',
    "back\\slash",
    "tab\t",
    "<b>&",
    "caf\u00e9",
    "\u2028",
    "\u20ac",
    "\U0001f600",
    "\\",
    "x",
]


@pytest.mark.parametrize("order", range(len(TEXTS)))
def test_every_text_comes_out_as_it_went_in_whichever_chunk_is_the_first(order: int) -> None:
    said = TEXTS[order:] + TEXTS[:order]
    found = lines(stream(), *(chunk({"content": text}) for text in said), chunk(finish="stop"), b"[DONE]")
    assert texts(found) == [*said, ""]


@pytest.mark.parametrize("collect", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_the_short_way_and_the_long_way_write_the_same_line(text: str, collect: bool) -> None:
    ids = [7] if collect else None
    short, long = stream("generate", collect=collect), stream("generate", collect=collect)
    short.feed(chunk({"content": "learn"}, ids=ids))
    payload = chunk({"content": text}, ids=ids)
    without_stamp = [re.sub(rb'"created_at":"[^"]+"', b"", answer.feed(payload)) for answer in (short, long)]
    assert without_stamp[0] == without_stamp[1] != b""
    assert short.escaped_text[-1:] == long.escaped_text[-1:]
    assert short.answer_ids[-1:] == long.answer_ids[-1:] == ([b"7"] if collect else [])


def test_plain_chunks_go_the_short_way_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = stream()
    answer.feed(chunk({"content": " The"}))
    monkeypatch.setattr(AnswerStream, "_decoded_lines", lambda *_: pytest.fail("decoded"))
    assert json.loads(answer.feed(chunk({"content": " quick"})))["message"]["content"] == " quick"


def test_a_release_that_writes_chunks_differently_is_read_all_the_same() -> None:
    spaced = [json.dumps(json.loads(chunk({"content": text})), indent=1).encode() for text in ("a", "b")]
    reordered = [dumps({"choices": [{"delta": {"role": "assistant", "content": text}}]}) for text in ("c", "d")]
    assert texts(lines(stream(), *spaced, *reordered)) == ["a", "b", "c", "d"]


def test_chunks_without_text_make_no_line() -> None:
    first = chunk({"role": "assistant", "content": ""})
    assert lines(stream(), first, chunk({"content": ""}), chunk({}), dumps(USAGE)) == []


def test_the_last_line_is_the_only_one_that_is_done() -> None:
    found = lines(stream(), chunk({"content": "a"}), chunk({"content": "b"}, finish="length"), dumps(USAGE), b"[DONE]")
    assert [line["done"] for line in found] == [False, False, True]
    assert texts(found) == ["a", "b", ""]
    assert (found[2]["done_reason"], found[2]["prompt_eval_count"], found[2]["eval_count"]) == ("length", 5, 3)


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "stop"), ("tool_calls", "stop"), ("length", "length"), ("repetition", "stop")]
)
def test_ollama_knows_two_reasons_to_be_done(finish: str, reason: str) -> None:
    assert lines(stream(), chunk(finish=finish), b"[DONE]")[-1]["done_reason"] == reason


@pytest.mark.parametrize("finish", ["abort", "error", None])
def test_an_answer_that_vllm_broke_off_is_an_error_and_not_done(finish: str | None) -> None:
    answer = stream()
    assert lines(answer, chunk({"content": "a"}), chunk(finish=finish), b"[DONE]")[-1]["done"] is False
    assert "stopped before the answer was complete" in answer.error


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"error":{"message":"EngineCore died","code":500}}', "EngineCore died"),
        (b'{"error":"gone"}', "gone"),
        (b'{"error":{}}', "vLLM reported an error without a message"),
        (b"{", "vLLM sent a chunk that cannot be read"),
        (b'{"choices":5}', "vLLM sent a chunk that cannot be read"),
        (b'{"choices":[{"delta":{"content":"\xff"}}]}', "vLLM sent a chunk that cannot be read"),
    ],
)
def test_an_error_in_the_stream_ends_the_answer(payload: bytes, message: str) -> None:
    answer = stream()
    assert answer.feed(payload) == b""
    assert answer.error == message


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_is_apart_from_the_text_and_without_blanks_around(field: str) -> None:
    thoughts = [chunk({field: text}) for text in (" ", " Let", " me", " ponder", " \n")]
    found = lines(
        stream(), *thoughts, chunk({"content": "\n\n"}), chunk({"content": " Answer"}), chunk({"content": " is "})
    )
    assert [line["message"].get("thinking", "") for line in found] == ["Let", " me", " ponder", "", ""]
    assert texts(found) == ["", "", "", "Answer", " is "]


def test_a_text_without_thinking_keeps_its_blanks() -> None:
    trimmer = Trimmer()
    assert (trimmer.thinking(""), trimmer.text(" The")) == ("", " The")


def test_a_tool_call_comes_complete_and_with_arguments_as_an_object() -> None:
    parts: list[Any] = [
        {"index": 0, "id": "x", "type": "function", "function": {"name": "get_weather"}},
        {"index": 0, "function": {"arguments": '{"ci'}},
        {"index": 1, "function": {"name": "now", "arguments": ""}},
        {"index": 0, "function": {"arguments": 'ty": "<Paris>"}'}},
    ]
    chunks = [chunk({"content": None, "tool_calls": [part]}) for part in parts]
    found = lines(stream(), chunk({"content": "Well"}), *chunks, chunk(finish="tool_calls"), b"[DONE]")
    assert texts(found) == ["Well", "", ""]
    calls = found[1]["message"]["tool_calls"]
    assert all(re.fullmatch(r"call_[a-z0-9]{8}", call.pop("id")) for call in calls)
    assert calls == [
        {"function": {"index": 0, "name": "get_weather", "arguments": {"city": "<Paris>"}}},
        {"function": {"index": 1, "name": "now", "arguments": {}}},
    ]
    assert (found[2]["done"], found[2]["done_reason"]) == (True, "stop")


def test_arguments_that_the_token_limit_cut_off_come_as_text() -> None:
    part = {"index": 0, "function": {"name": "f", "arguments": '{"city": "Pa'}}
    found = lines(stream(), chunk({"tool_calls": [part]}), chunk(finish="length"), b"[DONE]")
    assert texts(found) == ['{"city": "Pa', ""]
    assert "tool_calls" not in found[0]["message"]


def test_logprobs_have_the_bytes_of_their_tokens() -> None:
    content = [{"token": " Hi", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "\u20ac", "logprob": -1.0}]}]
    found = lines(stream(top_logprobs=1, logprobs=True), chunk({"content": " Hi"}, logprobs={"content": content}))
    top = [{"token": "\u20ac", "logprob": -1, "bytes": [226, 130, 172]}]
    assert found[0]["logprobs"] == [{"token": " Hi", "logprob": -0.5, "bytes": [32, 72, 105], "top_logprobs": top}]


def test_logprobs_of_a_raw_prompt_have_the_same_shape() -> None:
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [-1.5, None], "top_logprobs": [{"a": -1.5, "x": -0.5}, None]}
    answer = stream("generate", top_logprobs=1, logprobs=True)
    found = lines(answer, dumps({"choices": [{"index": 0, "text": "ab", "logprobs": logprobs}]}))
    assert [entry["token"] for entry in found[0]["logprobs"]] == ["a", "b"]
    assert found[0]["logprobs"][0]["top_logprobs"] == [{"token": "x", "logprob": -0.5, "bytes": [120]}]


def test_token_ids_are_kept_without_the_end_of_the_text() -> None:
    answer = stream("generate", collect=True)
    first = json.loads(chunk({"role": "assistant", "content": ""}))
    payloads = [dumps({**first, "prompt_token_ids": [1, 259]})]
    payloads += [
        chunk({"content": "a"}, ids=[268]),
        chunk({"content": "b"}, ids=[269]),
        chunk({"content": "."}, finish="stop", ids=[277, 2]),
    ]
    lines(answer, *payloads)
    assert answer.prompt_ids == [1, 259]
    assert b",".join(answer.answer_ids) == b"268,269,277"
    assert b"".join(answer.escaped_text) == b"ab."


def whole(**more: Any) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
        "stop_reason": None,
    }
    return dumps({"choices": [{**choice, **more}], "usage": USAGE["usage"]})


def body_of(raw: bytes, kind: Kind = "chat", timings: Timings | None = None) -> dict[str, Any]:
    answer = WholeAnswer(raw, TextRequest(kind, "m"), LineWriter(kind, "m"), timings or Timings())
    decoded: dict[str, Any] = json.loads(answer.body(Stamps().now))
    return decoded


def test_a_whole_answer_is_one_object_with_all_metrics() -> None:
    body = body_of(whole())
    assert list(body) == ["model", "created_at", "message", "done", "done_reason", "total_duration", "load_duration",
                          "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]  # fmt: skip
    assert all(body[name] > 0 for name in DURATIONS)


def test_a_whole_answer_with_thinking_and_a_call() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "reasoning": " hm ", "tool_calls": [call]}
    found = body_of(whole(message=message, finish_reason="tool_calls"))["message"]
    assert (found["content"], found["thinking"], found["tool_calls"][0]["function"]) == (
        "", "hm", {"index": 0, "name": "f", "arguments": {"a": 1}},
    )  # fmt: skip


def test_a_raw_answer_is_found_in_its_own_place() -> None:
    raw = dumps({"choices": [{"index": 0, "text": "Hi", "finish_reason": "length"}], "usage": USAGE["usage"]})
    body = body_of(raw, "generate")
    assert (body["response"], body["done_reason"]) == ("Hi", "length")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>", "cannot be read"),
        (b"{}", "without a choice"),
        (b'{"error":{"message":"boom"}}', "boom"),
        (whole(finish_reason="abort"), "stopped before the answer was complete"),
    ],
)
def test_what_is_no_whole_answer_says_so(raw: bytes, message: str) -> None:
    with pytest.raises(BadUpstreamAnswer, match=message):
        body_of(raw)


def test_the_engines_own_timings_are_used_where_it_sends_them() -> None:
    metrics = {"time_to_first_token_ms": 20.0, "generation_time_ms": 30.0, "queue_time_ms": 5.0}
    body = body_of(dumps({**json.loads(whole()), "metrics": metrics}))
    assert (body["prompt_eval_duration"], body["eval_duration"]) == (20_000_000, 30_000_000)
    assert body["load_duration"] >= 5_000_000


def test_no_metric_is_ever_zero() -> None:
    now = time.monotonic_ns()
    timings = Timings(received=now, dispatched=now, first_token=now, ended=now)
    for engine in (None, EngineMetrics(0.0, 0.0, 0.0)):
        found = json.loads(b"{" + timings.metrics(Usage(0, 0), engine)[1:] + b"}")
        assert len(found) == 6
        assert all(value >= 1 for value in found.values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no","type":"x","code":400}}', "no"),
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[1]}', None),
        (b"[]", None),
        (b"oops", None),
        (b"\xff", None),
    ],
)
def test_the_message_of_an_error_is_found_in_all_of_vllms_shapes(body: bytes, message: str | None) -> None:
    assert error_text(body) == message


@pytest.mark.parametrize(("think", "thoughts"), [(None, "why"), (True, "why"), (False, "")])
def test_tags_of_thoughts_never_reach_the_client(think: bool | None, thoughts: str) -> None:
    said = ["<th", "ink>\n", "why", "\n</thi", "nk>\n\n", "so", "<think>"]
    answer = stream(think=think)
    answer.split_thoughts(ThoughtSplitter())
    found = lines(answer, *(chunk({"content": text}) for text in said), chunk(finish="stop"), b"[DONE]")
    assert "".join(texts(found)) == "so<think>"
    assert "".join(line["message"].get("thinking", "") for line in found) == thoughts
