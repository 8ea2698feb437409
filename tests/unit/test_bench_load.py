"""What the load generator asks for, and how it tells a right answer from a wrong one."""

from __future__ import annotations

import json
import os
import time

import pytest

from bench import frames
from bench.calibration import Endpoint, WrongAnswer, expected_of
from bench.client import Client, Expected, count_marks, dechunked
from bench.mock import chunk
from bench.plan import SILENT, SPREAD, BadPlan, Plan, parse, plan_in
from bench.processes import cpu_ns, pss_bytes, system_share, tree
from bench.profile_adapter import shares
from bench.run import split_cores


@pytest.mark.parametrize("plan", [Plan(1), Plan(512), Plan(350, SPREAD, 20), Plan(2, SILENT)])
def test_a_plan_survives_the_way_through_a_prompt(plan: Plan) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": plan.prompt}], "stream": True}).encode()
    assert parse(plan_in(body)) == plan


@pytest.mark.parametrize(
    "found",
    [
        b"bench/",
        b"bench/x/burst/0/",
        b"bench/0/burst/0/",
        b"bench/1/never/0/",
        b"bench/1/burst/20/",
        b"bench/9/steps/0/",
    ],
)
def test_what_is_no_plan_is_refused(found: bytes) -> None:
    with pytest.raises(BadPlan):
        parse(found)


def test_a_prompt_without_a_plan_is_refused() -> None:
    with pytest.raises(BadPlan):
        plan_in(b'{"messages":[{"role":"user","content":"Hello"}]}')


def test_a_request_carries_the_key_that_a_target_wants() -> None:
    request = Endpoint("openai", 80, "sk-1").request(Plan(3), stream=True)
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer sk-1" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert json.loads(body)["stream_options"] == {"include_usage": True}
    assert b"Authorization" not in Endpoint("ollama", 80).request(Plan(3), stream=True)


def ollama_lines(count: int, *, spaced: bool = False) -> bytes:
    """A stream as the adapter writes it, or as the standard library's JSON does."""
    separators = (", ", ": ") if spaced else (",", ":")
    texts = [*frames.tokens(count), ""]
    lines = [{"message": {"role": "assistant", "content": text}, "done": not text} for text in texts]
    return b"".join(json.dumps(line, separators=separators).encode() + b"\n" for line in lines)


@pytest.mark.parametrize("spaced", [False, True])
def test_what_to_count_is_learnt_from_a_right_answer(spaced: bool) -> None:
    expected = expected_of("ollama", ollama_lines(5, spaced=spaced), Plan(5), stream=True)
    assert expected == Expected(6, spaced)
    assert ollama_lines(5, spaced=spaced).count(expected.mark) == 6


@pytest.mark.parametrize(
    "body",
    [b"", b"not json\n", b'{"error":"no"}\n', ollama_lines(4), ollama_lines(6), b'{"message":{"content":"Cert"}}\n'],
)
def test_another_text_than_the_upstreams_is_wrong(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        expected_of("ollama", body, Plan(5), stream=True)


def test_marks_are_found_where_a_chunk_ends_in_the_middle_of_one() -> None:
    body = ollama_lines(5)
    middle = body.index(b'"content"') + 4
    chunks = chunk(body[:middle]) + chunk(body[middle:]) + b"0\r\n\r\n"
    assert dechunked(chunks) == body
    assert chunks.count(b'"content":"') == 5
    assert count_marks(chunks, b'"content":"') == 6


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        """Nothing to end."""


def answered(answer: bytes, cuts: int, expected: Expected) -> tuple[Client, list[bool]]:
    """A client that got this answer in so many pieces."""
    client, done = Client(), list[bool]()
    client.connection_made(Transport())  # type: ignore[arg-type]
    client.ask(b"GET", expected, lambda one: done.append(one.is_right))
    size = max(len(answer) // cuts, 1)
    for start in range(0, len(answer), size):
        client.data_received(answer[start : start + size])
    return client, done


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("cuts", [1, 2, 7, 50, 10_000])
def test_a_streamed_answer_is_right_however_it_arrives(cuts: int) -> None:
    body = b"".join(chunk(line) for line in ollama_lines(5).splitlines(keepends=True)) + b"0\r\n\r\n"
    client, done = answered(STREAM_HEAD + body, cuts, Expected(6, False))
    assert done == [True]
    assert client.marks == 6
    assert client.first_ns >= client.asked_ns > 0


@pytest.mark.parametrize("cuts", [1, 3, 10_000])
def test_a_whole_answer_is_right_however_it_arrives(cuts: int) -> None:
    body = b'{"message":{"content":"Certainly"}}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    assert answered(answer, cuts, Expected(1, False))[1] == [True]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 14\r\n\r\n" + b'{"content":"x"}'[:14],
        STREAM_HEAD + chunk(ollama_lines(4)) + b"0\r\n\r\n",
        STREAM_HEAD + chunk(ollama_lines(6)) + b"0\r\n\r\n",
    ],
)
def test_an_error_and_a_missing_token_are_wrong(answer: bytes) -> None:
    client, done = answered(answer, 1, Expected(6, False))
    assert done == [False]
    assert client.problem.startswith("status ")


def test_an_answer_that_is_cut_is_wrong() -> None:
    client, done = answered(STREAM_HEAD + chunk(ollama_lines(5)), 1, Expected(6, False))
    assert done == []
    client.connection_lost(None)
    assert done == [False]
    assert "closed" in client.problem


@pytest.mark.parametrize(
    ("available", "load", "target"),
    [
        ([0, 1], frozenset({0}), frozenset({1})),
        ([0, 1, 2, 3], frozenset({0, 1}), frozenset({3})),
        ([4], frozenset({4}), frozenset({4})),
    ],
)
def test_the_target_has_a_core_of_its_own_where_there_are_two(
    available: list[int], load: frozenset[int], target: frozenset[int]
) -> None:
    assert split_cores(available) == (load, target)


def test_processor_time_of_a_process_is_read_from_its_own_clock() -> None:
    before, own = cpu_ns(os.getpid()), time.process_time_ns()
    sum(range(300_000))
    used, own = cpu_ns(os.getpid()) - before, time.process_time_ns() - own
    assert used > 0
    assert abs(used - own) < max(own, 5_000_000)
    assert os.getpid() in tree(os.getppid())


def test_memory_and_shares_are_read_as_the_kernel_writes_them() -> None:
    assert (
        pss_bytes("5581-7ffc ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPss:      812 kB\nPss_Dirty: 1 kB\n") == 812 * 1024
    )
    assert system_share((10, 5), (40, 15)) == 0.25
    assert system_share((10, 5), (10, 5)) == 0


def test_looks_of_the_profiler_are_counted_by_function() -> None:
    inner, anywhere, total = shares(
        ["main (x.py:1);a (ollama_adapter/y.py:2);write (libc.so.6) 3", "main (x.py:9);a (ollama_adapter/y.py:8) 2", ""]
    )
    assert total == 5
    assert dict(inner) == {"write (libc.so.6)": 3, "a (ollama_adapter/y.py)": 2}
    assert dict(anywhere) == {"a (ollama_adapter/y.py)": 5}
