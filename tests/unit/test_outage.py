"""From what a prober wrote down to numbers, verdicts and the table of docs/outage.md."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.outage import measuring
from tests.outage.__main__ import PAGE, RESULTS
from tests.outage.client import Client, NoAnswer
from tests.outage.page import BEGIN, END, table, with_table
from tests.outage.prober import Prober, Series, end_of_stream, reason_in
from tests.outage.promises import PROMISES, TEXT, VISION, Seen, Verdict
from tests.outage.records import Record, Stream, read, write
from tests.outage.summary import outages, quantile_index, refusals, summarised, worst_lateness_s

WHY = "vLLM is not reachable"


def at(start_s: float, status: int | None = 200, series: str = "11434 new", took_s: float = 0.01) -> Record:
    """A request of that time: answered, refused with a reason, or (None) not answered at all."""
    told = WHY if status == 503 else ""
    return Record(series, start_s, start_s, start_s + took_s, status, "" if status else "refused", told)


def seen(text: Iterable[Record], streams: Iterable[Stream] = (), start_s: float | None = None) -> Seen:
    """A change from second 5 to 6, with a request of every series before it."""
    before = [at(0.0, series=series) for series in (*TEXT, *VISION)]
    return Seen([*before, *text], list(streams), 5.0, 6.0, start_s)


def judged(promise: str, what: Seen) -> Verdict:
    return PROMISES[promise](what)


def test_an_outage_lasts_from_the_first_failure_to_the_next_answered_request() -> None:
    records = [at(1.0), at(2.0, None), at(2.5, 503), at(4.0), at(5.0, None), at(5.5)]
    assert outages(records) == [(2.0, 4.0), (5.0, 5.5)]


def test_the_order_of_the_records_does_not_matter_since_slow_answers_are_written_down_late() -> None:
    assert outages([at(4.0), at(2.0, None), at(1.0)]) == [(2.0, 4.0)]


def test_an_outage_that_nothing_ends_goes_on_to_its_last_record() -> None:
    assert outages([at(1.0), at(2.0, None), at(3.0, None, took_s=0.5)]) == [(2.0, 3.5)]


def test_no_failure_is_no_outage() -> None:
    found = summarised([at(1.0), at(2.0, took_s=0.7)])
    assert (found.failed, found.outage_s, found.longest_outage_s, found.kinds) == (0, 0.0, 0.0, {})
    assert found.worst_latency_s == pytest.approx(0.7)


def test_the_whole_outage_includes_what_was_answered_between_two_failures() -> None:
    found = summarised([at(1.0), at(2.0, None), at(2.2), at(9.0, 503), at(9.5)])
    assert [found.longest_outage_s, found.outage_s] == pytest.approx([0.5, 7.5])
    assert found.kinds == {"refused": 1, "503": 1}
    assert found.told == {WHY: 1}


def test_answers_of_another_series_do_not_end_an_outage() -> None:
    found = summarised([at(1.0, None), at(1.5, series="11434 kept"), at(2.0, None), at(3.0)])
    assert found.longest_outage_s == pytest.approx(2.0)


def test_the_wait_of_a_request_that_failed_is_not_the_worst_latency() -> None:
    assert summarised([at(1.0, took_s=0.2), at(2.0, None, took_s=60.0)]).worst_latency_s == pytest.approx(0.2)


def test_without_a_request_there_is_no_success() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summarised([])


def test_of_refusals_is_told_how_long_they_took_and_how_many_gave_no_reason() -> None:
    bare = Record("11434 generate", 0.0, 0.0, 0.05, 503)
    found = refusals([bare, *(at(n, 503, took_s=0.001 * n) for n in range(1, 100)), at(3.0)])
    assert (found.count, found.without_reason) == (100, 1)
    assert [found.p99_s, found.worst_s] == pytest.approx([0.099, 0.099])


def test_who_waited_for_a_server_when_it_died_is_told_no_sooner() -> None:
    waited = [at(1.0, 503, took_s=4.0), at(2.0, 503, took_s=3.0)]
    assert refusals([*waited, at(5.5, 503)]).worst_s == pytest.approx(0.01)


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (99, 98), (100, 98), (101, 99), (1000, 989)])
def test_99_of_100_lie_at_or_below_the_quantile(count: int, index: int) -> None:
    assert quantile_index(count, 0.99) == index


def test_how_late_a_request_was_sent_is_known() -> None:
    assert worst_lateness_s([at(1.0), Record("a", 1.0, 1.4, 9.0, 200)]) == pytest.approx(0.4)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = [at(1.0), at(2.0, 503), at(3.0, None)]
    write(tmp_path / "new" / "records.jsonl", records)
    assert read(tmp_path / "new" / "records.jsonl") == records


def test_one_failed_request_breaks_the_promise_of_none() -> None:
    assert judged("no failure", seen([at(5.1)])).is_kept
    assert not judged("no failure", seen([at(5.1), at(5.2, None)])).is_kept
    assert not judged("vision", seen([at(5.2, None, series="11435 kept")])).is_kept
    assert judged("vision", seen([at(5.2, None)])).is_kept


@pytest.mark.parametrize(("back_s", "is_kept"), [(7.9, True), (8.1, False)])
def test_11434_may_be_out_for_the_start_of_the_other_server_and_a_second(back_s: float, is_kept: bool) -> None:
    out = [at(5.0, None), at(6.0, 503, "11434 generate"), at(back_s), at(back_s, series="11434 generate")]
    assert judged("start time", seen(out, start_s=2.0)).is_kept is is_kept


def test_a_switch_during_which_nothing_failed_was_none() -> None:
    assert not judged("start time", seen([at(5.0)], start_s=2.0)).is_kept


@pytest.mark.parametrize(
    ("bad", "is_kept"),
    [
        ([], True),
        ([at(5.2, None, "11434 generate")], False),  # no answer at all
        ([at(5.2, 500, "11434 generate")], False),
        ([Record("11434 generate", 5.2, 5.2, 5.21, 503)], False),  # no reason
        ([at(5.2, 503, "11434 generate", took_s=0.2)], False),  # too late
        ([at(5.2, None, "11434 kept")], False),  # what needs no vLLM
    ],
)
def test_while_vllm_is_away_only_503s_with_a_reason_and_soon_will_do(bad: list[Record], is_kept: bool) -> None:
    refused = [at(5.0, 503, "11434 generate"), at(5.1, 503, "11434 generate")]
    assert judged("reasons", seen([*refused, *bad])).is_kept is is_kept


def test_without_a_503_the_promise_of_reasons_was_not_tried() -> None:
    assert not judged("reasons", seen([at(5.1, series="11434 generate")])).is_kept


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ("whole", {"whole streams", "told streams"}),
        ("error line", {"told streams", "error lines"}),
        ("cut", set[str]()),
    ],
)
def test_streams_are_judged_by_their_last_line(end: str, kept: set[str]) -> None:
    what = seen([], [Stream(4.0, 7.0, 12, end)])
    assert {name for name in ("whole streams", "told streams", "error lines") if judged(name, what).is_kept} == kept


@pytest.mark.parametrize(
    "other", [Stream(4.0, 4.9, 9, "whole"), Stream(5.5, 7.0, 9, "whole"), Stream(4.0, 7.0, 0, "whole")]
)
def test_without_a_stream_on_its_way_nothing_is_promised_of_streams(other: Stream) -> None:
    for name in ("whole streams", "told streams", "error lines"):
        assert not judged(name, seen([], [other])).is_kept


@pytest.mark.parametrize(
    ("status", "line", "end"),
    [
        (200, '{"done":true}', ("whole", "")),
        (200, '{"error":"vLLM died"}', ("error line", "vLLM died")),
        (200, '{"done":false}', ("cut", "the last line is no end")),
        (200, "", ("cut", "the last line is no end")),
        (503, '{"error":"vLLM is starting"}', ("refused", "vLLM is starting")),
    ],
)
def test_the_last_line_says_how_a_stream_ended(status: int, line: str, end: tuple[str, str]) -> None:
    assert end_of_stream(status, line) == end


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"error":{}}', b'{"done":true}'])
def test_what_has_no_text_under_error_gives_no_reason(body: bytes) -> None:
    assert reason_in(body) == ""


def test_a_table_replaces_the_one_before_and_nothing_else() -> None:
    once = with_table(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n")
    assert once == f"a\n{BEGIN}\nnew\n{END}\nb\n"
    assert with_table(once, "new\n") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_a_place_for_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="make outage"):
        with_table(text, "new")


def test_the_page_shows_what_was_measured_last() -> None:
    results = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text, table(results)) == text


class Server:
    """Answers requests on a port of its own as it is told, one behaviour after the other."""

    def __init__(self, *behaviours: bytes, delays_s: Iterable[float] = ()) -> None:
        """:param delays_s: how long the first answers take; those after them take no time."""
        self.behaviours, self.delays_s = list(behaviours), list(delays_s)
        self.connections = self.port = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(self.delays_s.pop(0) if self.delays_s else 0)
                answer = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


def test_a_kept_connection_is_used_again_until_an_answer_ends_it() -> None:
    async def asked() -> tuple[list[int], int]:
        async with Server(OK, CHUNKED, LAST, OK) as server:
            client = Client("127.0.0.1", server.port, keeps=True)
            statuses = [(await client.ask("/"))[0] for _ in range(4)]
            client.close()
            return statuses, server.connections

    assert asyncio.run(asked()) == ([200, 503, 200, 200], 2)


def test_a_new_connection_for_each_request_and_an_answer_that_never_came_is_told() -> None:
    async def asked() -> tuple[int, str, str]:
        async with Server(OK, OK, b"") as server:
            client = Client("127.0.0.1", server.port, keeps=False)
            for _ in range(2):
                assert await client.ask("/") == (200, b"{}")
            with pytest.raises(NoAnswer) as closed:
                await client.ask("/")
            connections = server.connections
        with pytest.raises(NoAnswer) as refused:
            await client.ask("/")
        return connections, str(closed.value), str(refused.value)

    assert asyncio.run(asked()) == (3, "closed", "refused")


def test_a_slow_answer_holds_up_no_other_request() -> None:
    async def probed() -> list[Record]:
        async with Server(OK, delays_s=[0.5]) as server:
            async with Prober("127.0.0.1", [Series("slow first", server.port, "/", 0.01)]) as prober:
                while not prober.has_answered("slow first", 0.0):
                    await asyncio.sleep(0.01)
            return prober.records

    records = asyncio.run(probed())
    first = min(records, key=lambda one: one.start_s)
    assert first.latency_s >= 0.5
    assert any(one.end_s < first.end_s for one in records)
    assert {one.kind for one in records} == {"200"}


def test_a_change_is_made_between_two_texts_and_its_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "BEFORE_S", 0.1)

    async def made() -> Seen:
        async with Server(OK) as server:

            def change() -> list[str]:
                server.behaviours = [CHUNKED]
                time.sleep(0.3)
                server.behaviours = [OK]
                return ["done"]

            prober = Prober("127.0.0.1", [Series("11434 generate", server.port, "/", 0.01)])
            return await measuring._clients_of(prober, change, settles_s=0.1)

    what = asyncio.run(made())
    failed = [one for one in what.records if one.is_failed]
    assert {one.kind for one in failed} == {"503"}
    assert what.began_s <= failed[0].end_s
    assert failed[-1].start_s <= what.ended_s
    assert any(one.start_s >= what.ended_s and not one.is_failed for one in what.records)
    assert what.said == ["done"]
