"""The soak's accounting: each way of losing a request is seen as one, by a real client of a server that does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.soak.accounting import (
    Ending,
    Entry,
    Observation,
    Outcome,
    Shape,
    Verdict,
    Window,
    counts,
    judge,
    log_discrepancies,
    told_without_cause,
)
from tests.soak.client import Client
from tests.soak.load import PATIENT, Manner, Models, Request, kinds, manner
from tests.soak.memory import MIB, Sample, growths
from tests.soak.promises import are_kept, promises
from tests.soak.report import write
from tests.soak.soak import Disturbance, Plan, Result

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = frozenset({200})
ID = "soak-1"
HEAD = f"HTTP/1.1 200 OK\r\nX-Request-Id: {ID}\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LINE, LAST = b'{"response":"a","done":false}\n', b'{"response":"","done":true}\n'
REQUEST = Request("generate", "POST", "/api/generate", b"{}", Shape.LINES)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def counted(status: str, body: bytes, more: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\nX-Request-Id: {ID}\r\nContent-Length: {len(body)}\r\n".encode()
    return head + more + b"\r\n" + body


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server, by its port; when it is left its connections are closed."""
    handlers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in handlers if task is not None))


def verdict(*pieces: bytes, then: str = "close", how: Manner = PATIENT, hang_s: float = 30) -> Verdict:
    """The verdict on a server that sends these bytes and then closes, resets, or stays silent."""

    async def ask() -> Verdict:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n{}")
            for piece in pieces:
                writer.write(piece)
            await writer.drain()
            if then == "reset":
                writer.transport.abort()
            elif then == "silence":
                await over.wait()

        async with serving(serve) as port:
            client = Client("127.0.0.1", port, hang_s)
            seen = await client.send(REQUEST, how, ID)
            client.close()
            over.set()
        return judge(REQUEST.shape, REQUEST.expected, ID, seen)

    return asyncio.run(ask())


def test_a_stream_with_its_last_line_is_completed() -> None:
    assert verdict(CHUNKED, chunk(LINE), chunk(LAST), b"0\r\n\r\n") == Verdict(Outcome.COMPLETED)


def test_an_error_line_and_a_refusal_with_a_reason_are_told_and_say_what() -> None:
    told = verdict(CHUNKED, chunk(LINE), chunk(b'{"error":"vLLM is gone"}\n'), b"0\r\n\r\n")
    assert told == Verdict(Outcome.ERROR_LINE, "vLLM is gone")
    refused = verdict(counted("503 Service Unavailable", b'{"error":"starting"}', b"Retry-After: 5\r\n"))
    assert refused == Verdict(Outcome.REFUSED, "503 starting")


@pytest.mark.parametrize(
    "pieces, then, reason",
    [
        ((), "close", "ended inside an answer, or before it"),
        ((), "reset", "ended inside an answer, or before it"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-",), "close", "ended inside an answer, or before it"),
        ((CHUNKED, chunk(LINE)), "close", "ended inside an answer, or before it"),
        ((CHUNKED, chunk(LINE), b"1c\r\n" + LAST[:9]), "close", "ended inside an answer, or before it"),
        ((CHUNKED, chunk(LINE), chunk(LAST)), "close", "ended inside an answer, or before it"),
        ((HEAD + b"Content-Length: 50\r\n\r\n" + LINE,), "close", "ended inside an answer, or before it"),
        ((CHUNKED, chunk(LINE), b"0\r\n\r\n"), "close", "silent end"),
        ((CHUNKED, b"0\r\n\r\n"), "close", "the last line has no end"),
        ((CHUNKED, chunk(LINE), chunk(b'{"done":tr'), b"0\r\n\r\n"), "close", "the last line has no end"),
        ((CHUNKED, chunk(b'{"response":\n'), chunk(LAST), b"0\r\n\r\n"), "close", "line 1 of 2 is no JSON object"),
        ((CHUNKED, chunk(b'{"response":"\xff"}\n'), chunk(LAST), b"0\r\n\r\n"), "close", "line 1 of 2 is no JSON"),
        ((CHUNKED, chunk(b'{"error":"x"}\n'), chunk(LAST), b"0\r\n\r\n"), "close", "lines after the last one"),
        ((CHUNKED, chunk(LINE), b"xyz\r\n"), "silence", "not HTTP"),
        ((counted("502 Bad Gateway", b"<html>"),), "close", "status 502 without a reason"),
        ((counted("500 Internal Server Error", b'{"error":""}'),), "close", "status 500 without a reason"),
    ],
)  # fmt: skip
def test_what_ends_without_an_answer_or_a_reason_is_lost(pieces: tuple[bytes, ...], then: str, reason: str) -> None:
    lost = verdict(*pieces, then=then)
    assert lost.outcome is Outcome.LOST
    assert reason in lost.reason


@pytest.mark.parametrize("pieces", [(), (CHUNKED, chunk(LINE))], ids=["before the answer", "inside it"])
def test_a_server_that_falls_silent_is_a_hang_and_that_is_lost(pieces: tuple[bytes, ...]) -> None:
    lost = verdict(*pieces, then="silence", hang_s=0.3)
    assert lost.outcome is Outcome.LOST
    assert "nothing came for too long" in lost.reason


def test_a_refused_connection_is_lost() -> None:
    async def closed_port() -> int:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0) as server:
            return int(server.sockets[0].getsockname()[1])

    seen = asyncio.run(Client("127.0.0.1", asyncio.run(closed_port()), 30).send(REQUEST, PATIENT, ID))
    assert seen.ending is Ending.UNREACHABLE
    assert judge(REQUEST.shape, OK, ID, seen).outcome is Outcome.LOST


@pytest.mark.parametrize(
    "how",
    [Manner(drop_after_s=0.2, resets=True), Manner(drop_after_s=0.0), Manner(drop_after_bytes=1, resets=True)],
)
def test_a_client_that_goes_as_planned_has_lost_nothing(how: Manner) -> None:
    assert verdict(CHUNKED, chunk(LINE), then="silence", how=how).outcome is Outcome.DROPPED


def test_a_slow_reader_sees_the_same_answer() -> None:
    many = [chunk(LINE) for _ in range(200)]
    assert verdict(CHUNKED, *many, chunk(LAST), b"0\r\n\r\n", how=Manner(is_slow=True)).outcome is Outcome.COMPLETED


def test_a_connection_that_was_closed_between_two_requests_is_tried_once_more() -> None:
    async def ask() -> tuple[list[Observation], int]:
        answer = counted("200 OK", LAST)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(answer)  # and says nothing of closing
            await reader.readuntil(b"\r\n\r\n{}")

        async with serving(serve) as port:
            client = Client("127.0.0.1", port, 30)
            seen = [await client.send(REQUEST, PATIENT, ID) for _ in range(2)]
            client.close()
        return seen, client.retries

    seen, retries = asyncio.run(ask())
    assert [one.ending for one in seen] == [Ending.COMPLETE, Ending.COMPLETE]
    assert retries == 1


def test_a_request_id_that_does_not_come_back_and_a_503_without_retry_after_break_the_promise() -> None:
    other = Observation(Ending.COMPLETE, status=200, headers={"x-request-id": "soak-2"}, body=LAST)
    assert judge(Shape.LINES, OK, ID, other).faults == ("X-Request-Id came back as 'soak-2'",)
    assert verdict(counted("503 Service Unavailable", b'{"error":"busy"}')).faults == ("503 without Retry-After",)


@pytest.mark.parametrize(
    "shape, body, outcome",
    [
        (Shape.FINAL, b'{"response":"x","done":true}', Outcome.COMPLETED),
        (Shape.FINAL, b'{"response":"x"}', Outcome.LOST),
        (Shape.FINAL, b'{"response":', Outcome.LOST),
        (Shape.OBJECT, b'{"models":[]}', Outcome.COMPLETED),
        (Shape.OBJECT, b'{"error":"x"}', Outcome.LOST),
        (Shape.EVENTS, b'data: {"choices":[]}\n\ndata: [DONE]\n\n', Outcome.COMPLETED),
        (Shape.EVENTS, b'data: {"choices":[]}\n\n', Outcome.LOST),
        (Shape.EVENTS, b'data: {"choices":[]}\n\ndata: [DO', Outcome.LOST),
        (Shape.EVENTS, b'data: {"choi\n\ndata: [DONE]\n\n', Outcome.LOST),
        (Shape.EVENTS, b'data: {"choices":[]}\n\ndata: {"error":{"message":"gone"}}\n\n', Outcome.ERROR_LINE),
        (Shape.EVENTS, b'data: {"error":{"message":"gone"}}\n\ndata: [DONE]\n\n', Outcome.ERROR_LINE),
    ],
)
def test_every_shape_of_answer_has_its_end(shape: Shape, body: bytes, outcome: Outcome) -> None:
    seen = Observation(Ending.COMPLETE, status=200, headers={"x-request-id": ID}, body=body)
    assert judge(shape, OK, ID, seen).outcome is outcome


def test_an_error_that_the_request_deserves_is_an_answer() -> None:
    seen = Observation(Ending.COMPLETE, status=404, headers={"x-request-id": ID}, body=b'{"error":"not found"}')
    assert judge(Shape.LINES, frozenset({404}), ID, seen).outcome is Outcome.COMPLETED
    assert judge(Shape.LINES, OK, ID, seen).outcome is Outcome.REFUSED


def entry(number: int, outcome: Outcome = Outcome.COMPLETED, at_s: float = 0, status: int | None = 200) -> Entry:
    return Entry(f"soak-{number}", "chat", at_s, at_s + 1, status, Verdict(outcome))


def logged(number: int, status: int = 200) -> str:
    return json.dumps({"event": "request", "request_id": f"soak-{number}", "status": status})


def test_a_log_with_one_line_for_each_request_agrees_whatever_else_is_in_it() -> None:
    lines = [
        "Started.",
        logged(1),
        logged(2, 499),
        '{"event":"listening"}',
        '{"event":"request","request_id":"other-1"}',
    ]
    entries = [entry(1), entry(2, Outcome.DROPPED, status=None)]
    assert log_discrepancies(lines, entries, "soak-") == []


@pytest.mark.parametrize(
    "lines, problem",
    [
        ([], "soak-1 (chat, completed): 0 lines in the adapter's log"),
        ([logged(1), logged(1)], "soak-1 (chat, completed): 2 lines in the adapter's log"),
        ([logged(1, 503)], "soak-1 (chat, completed): the log says status 503, the client saw 200"),
        ([logged(1), logged(2)], "soak-2: in the adapter's log, never sent"),
    ],
)
def test_a_line_that_is_missing_doubled_or_different_is_found(lines: list[str], problem: str) -> None:
    assert log_discrepancies(lines, [entry(1)], "soak-") == [problem]


def test_a_request_may_be_told_while_something_restarts_and_at_no_other_time() -> None:
    entries = [entry(n, Outcome.REFUSED, at_s) for n, at_s in enumerate([5, 9.5, 15, 20, 20.1])]
    found = told_without_cause([*entries, entry(9, at_s=30)], [Window(10, 20)])
    assert [one.started_s for one in found] == [5, 20.1]


def test_counts_have_every_outcome_of_every_kind() -> None:
    table = counts([entry(1), entry(2, Outcome.LOST)])
    assert table["all"] == table["chat"]
    assert (table["chat"]["completed"], table["chat"]["LOST"], table["chat"]["dropped by the client"]) == (1, 1, 0)


def sample(at_s: float, rss: float, files: int = 20) -> Sample:
    return Sample(at_s, 1, int(rss * MIB), int(rss * MIB), 1, files, 0, 0)


@pytest.mark.parametrize(
    "late_mib, files, flat", [(33.9, 28, True), (34.1, 20, False), (30, 29, False)], ids=["flat", "memory", "files"]
)
def test_memory_is_flat_when_the_last_fifth_is_not_above_the_second(late_mib: float, files: int, flat: bool) -> None:
    early = [sample(at, 30) for at in range(20, 40)]
    peak = [sample(at, 90) for at in (30, 85)]  # one high sample is no growth
    late = [sample(at, late_mib, files) for at in range(80, 100)]
    assert all(one.is_flat for one in growths([*early, *peak, *late], 100)) is flat


def result() -> Result:
    """A run in which all went well."""
    entries = [
        entry(1),
        entry(2, Outcome.DROPPED),
        entry(3, Outcome.ERROR_LINE, 210),
        entry(4, Outcome.REFUSED, 215, 503),
    ]
    samples = [sample(at, 30) for at in range(0, 600, 5)]
    restart = Disturbance("vLLM: kill", 209, 212, 230)
    plan = Plan(minutes=10, vllm_restarts=("kill",))
    return Result(plan, "here", 600, entries, [restart], samples, is_vllm_idle=True)


def test_a_run_in_which_all_went_well_keeps_every_promise() -> None:
    assert [one.sentence for one in promises(result()) if not one.is_kept] == []


def test_each_thing_that_goes_wrong_breaks_exactly_one_promise() -> None:
    broken = [result() for _ in range(10)]
    broken[0].entries.append(entry(5, Outcome.LOST))
    broken[1].entries.append(Entry("soak-5", "chat", 0, 1, 200, Verdict(Outcome.COMPLETED, faults=("no id",))))
    broken[2].entries.append(entry(5, Outcome.REFUSED, 500, 503))
    broken[3].log_problems = ["soak-5: 0 lines"]
    broken[4].entries = [entry(1), entry(2)]
    broken[5].disturbances = [Disturbance("vLLM: kill", 209, None, None)]
    broken[6].samples += [sample(at, 40) for at in range(480, 600)]
    broken[7].samples = []
    broken[8].is_vllm_idle = False
    broken[9].samples[60:] = [replace(one, main_pid=2) for one in broken[9].samples[60:]]
    failed = [[one.sentence for one in promises(run) if one.is_kept is False] for run in broken]
    assert all(len(sentences) == 1 for sentences in failed), failed
    assert len({sentences[0] for sentences in failed}) == 9  # grown and not measured are the same promise
    assert not any(map(are_kept, broken))


def test_a_short_run_does_not_judge_memory_and_a_restart_that_never_came_is_broken() -> None:
    short = result()
    short.duration_s = 90
    assert are_kept(short)
    short.disturbances = []
    assert not are_kept(short)


def test_the_report_says_what_was_counted_and_what_is_broken(tmp_path: Path) -> None:
    bad = result()
    bad.entries.append(Entry("soak-9", "chat", 1, 2, 200, Verdict(Outcome.LOST, "silent | end")))
    write(bad, tmp_path)
    page, raw = (tmp_path / "RESULTS.md").read_text(), json.loads((tmp_path / "result.json").read_text())
    assert "| No request is lost | **BROKEN** | soak-9 (chat): silent \\| end |" in page
    assert "| chat | 5 | 1 | 1 | 1 | 1 | 1 |" in page
    assert raw["counts"]["all"]["LOST"] == 1
    assert [one["request_id"] for one in raw["lost"]] == ["soak-9"]
    assert len(raw["samples"]["main_rss"]) == len(bad.samples)


def test_the_same_seed_asks_for_the_same_and_every_kind_makes_a_request() -> None:
    models = Models("llama2:7b", "llava:7b", "nomic-embed-text")
    twice = [[(kind.request(Random(7)), manner(Random(7))) for kind in kinds(models)] for _ in range(2)]
    assert twice[0] == twice[1]
    for request, _ in twice[0]:
        assert request.method == ("POST" if request.body else "GET")
        assert not request.body or isinstance(json.loads(request.body), dict)
