"""The mock's answers have the shapes that vLLM 0.32.0 was recorded with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench import frames, mock
from bench.client import dechunked

RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings" / "vllm-0.32.0-cpu.jsonl"


def recorded(name: str) -> str:
    """The body of an answer of a real vLLM."""
    for line in RECORDINGS.read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        if exchange["name"] == name:
            return str(exchange["response"]["body"])
    raise LookupError(name)


def events(body: str) -> list[Any]:
    """The decoded events of a stream, without the last, which is no JSON."""
    *found, done, rest = body.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in found]


def shape(value: Any) -> Any:
    """Names in their order, and types; what the texts and numbers are does not matter. null stays null."""
    if isinstance(value, dict):
        return [(name, shape(one)) for name, one in value.items()]
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def made(count: int, *, usage: bool) -> list[Any]:
    """The decoded events of the mock's stream."""
    stream = frames.stream(count, usage=usage)
    return events((stream.first + b"".join(stream.tokens) + stream.last).decode())


def test_a_stream_with_usage_has_the_recorded_shape() -> None:
    wanted = events(recorded("chat_stream_usage"))
    found = made(6, usage=True)
    # vLLM adds the metrics with --enable-per-request-metrics, which the recorded server did not have.
    assert found[-1].pop("metrics") == frames.METRICS
    assert [shape(event) for event in found] == [shape(event) for event in wanted]


def test_a_stream_without_usage_has_the_recorded_shape() -> None:
    wanted = events(recorded("chat_stream"))
    assert [shape(event) for event in made(6, usage=False)] == [shape(event) for event in wanted]


def test_a_whole_answer_has_the_recorded_shape() -> None:
    wanted, found = json.loads(recorded("chat")), json.loads(frames.whole(8))
    assert wanted.pop("metrics") is None
    found.pop("metrics")
    assert shape(found) == shape(wanted)


def test_a_plain_chunk_is_the_recorded_one_byte_for_byte() -> None:
    real = recorded("chat_stream_usage").split("\n\n")[1] + "\n\n"
    found = json.loads(real.removeprefix("data: "))
    mine = frames.stream(3, usage=True).tokens[1].decode()
    text = json.dumps(frames.tokens(3)[1])
    assert mine == re.sub(r'"id":"[^"]+"', '"id":"chatcmpl-84858131dcbab8d5"', real).replace(
        f'"created":{found["created"]}', '"created":1795433261'
    ).replace('"content":""', f'"content":{text}')


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_stream_says_what_a_whole_answer_says(count: int) -> None:
    spoken = "".join(choice["delta"]["content"] for event in made(count, usage=True) for choice in event["choices"])
    assert spoken == frames.text(count) == json.loads(frames.whole(count))["choices"][0]["message"]["content"]
    assert spoken.startswith(frames.FIRST)
    assert spoken.count(frames.FIRST) == 1


def test_the_mock_writes_one_chunk_an_event() -> None:
    parts = mock.parts_of(b"bench/3/burst/0/", True)
    head, _, body = parts.all.partition(b"\r\n\r\n")
    stream = frames.stream(3, usage=True)
    assert b"transfer-encoding: chunked" in head
    assert dechunked(body) == stream.first + b"".join(stream.tokens) + stream.last
    assert body.count(b"\r\ndata: ") == len(stream.tokens) + 1 + 2
    assert body.endswith(b"\r\n0\r\n\r\n")
    assert parts.opening + b"".join(parts.tokens) + parts.closing == parts.all
