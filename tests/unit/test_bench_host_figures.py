"""The benchmark's arithmetic and decisions, against numbers worked out by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import pytest

from bench.host.apis import OLLAMA, OPENAI, BadAnswer, Reading
from bench.host.cache import CacheCount, cache_count, hit_rate
from bench.host.chart import round_up, series
from bench.host.claims import NOT_MEASURED, compared, prefix_gain
from bench.host.identity import Identity, chosen, differences, of_ollama, of_openai
from bench.host.progress import Progress
from bench.host.prompts import GUIDE, Lengths, asks
from bench.host.summary import Answer, Cell, inter_token_ms, row
from tests.unit.bench_host_server import of_ollama as said_by_ollama
from tests.unit.bench_host_server import of_vllm

CELL = Cell("mix", 4, True)


def answers(*e2e_ms: float) -> list[Answer]:
    return [
        Answer(
            "a", "mix", 4, True, number, 0.0, "ok",
            e2e_ms=value, ttft_ms=value / 10, itl_ms=2.0, answer_tokens=5, prompt_tokens=7,
        )
        for number, value in enumerate(e2e_ms)
    ]  # fmt: skip


def test_a_row_has_percentiles_by_nearest_rank_and_rates_over_the_time_of_the_cell() -> None:
    figures = row("a", CELL, answers(*[float(value) for value in range(1, 21)]), 4.0, 0.25)
    assert (figures["e2e_ms_p50"], figures["e2e_ms_p95"], figures["e2e_ms_p99"]) == (10.0, 19.0, 20.0)
    assert figures["ttft_ms_p50"] == 1.0
    assert figures["requests_per_s"] == 5.0  # 20 in 4 s
    assert figures["tokens_per_s"] == 25.0  # 20 times 5 in 4 s
    assert figures["prefix_hit_rate"] == 0.25


def test_errors_and_what_was_cut_off_are_in_no_time_and_no_rate() -> None:
    good = answers(10.0, 30.0)
    bad = [replace(good[0], kind=kind, e2e_ms=None) for kind in ("refused", "http-503", "http-503", "cut-off")]
    figures = row("a", CELL, good + bad, 2.0, None)
    assert figures["errors"] == {"http-503": 2, "refused": 1}
    assert (figures["ok"], figures["requests"], figures["cut_off"]) == (2, 6, 1)
    assert figures["requests_per_s"] == 1.0
    assert figures["tokens_per_s"] == 5.0
    assert figures["e2e_ms_p50"] == 10.0


def test_without_the_servers_count_there_are_no_tokens_a_second() -> None:
    one, other = answers(10.0, 20.0)
    figures = row("a", CELL, [one, replace(other, answer_tokens=None)], 1.0, None)
    assert figures["tokens_per_s"] is None
    assert figures["uncounted"] == 1


def test_the_time_between_tokens_is_by_the_servers_count_and_not_by_pieces() -> None:
    assert inter_token_ms(1_000_000, 21_000_000, 11) == 2.0
    assert inter_token_ms(1_000_000, 21_000_000, None) is None
    assert inter_token_ms(1_000_000, 21_000_000, 1) is None


@pytest.mark.parametrize(
    ("api", "body", "tokens", "pieces"),
    [
        (OLLAMA, said_by_ollama("gen_stream_full")[0], (10, 11), 10),
        (OPENAI, of_vllm("chat_stream_usage")[0], (5, 6), 6),
    ],
)
def test_an_answer_reads_the_same_wherever_the_network_cut_it(
    api: str, body: str, tokens: tuple[int, int], pieces: int
) -> None:
    raw = body.encode()
    for cut in range(0, len(raw) + 1, 7):
        reading = Reading(api, True)
        reading.feed(raw[:cut], 1)
        reading.feed(raw[cut:], 2)
        reading.finish(200)
        assert (reading.prompt_tokens, reading.answer_tokens) == tokens
        assert len(reading.content_ns) == pieces


def test_usage_is_missing_where_the_server_gives_none() -> None:
    reading = Reading(OPENAI, True)
    reading.feed(of_vllm("chat_stream")[0].encode(), 1)
    reading.finish(200)
    assert reading.answer_tokens is None


def test_an_ollama_error_in_the_middle_is_an_error_line_although_the_status_was_200() -> None:
    reading = Reading(OLLAMA, True)
    reading.feed(b'{"response":"a","done":false}\n{"error":"vLLM went away"}\n', 1)
    with pytest.raises(BadAnswer, match="vLLM went away") as refused:
        reading.finish(200)
    assert refused.value.kind == "error-line"


def test_the_hit_rate_is_that_of_the_time_between_two_readings() -> None:
    after = cache_count(of_vllm("metrics_after")[0])
    assert after == CacheCount(1912.0, 1024.0)
    assert hit_rate(CacheCount(912.0, 524.0), after) == 0.5
    assert hit_rate(CacheCount(5000.0, 0.0), after) is None  # vLLM restarted
    assert hit_rate(after, after) is None
    assert cache_count("# nothing\nother_total 3\n") is None
    two = 'vllm:prefix_cache_{}_total{{engine="0"}} 1.0\nvllm:prefix_cache_{}_total{{engine="1"}} 2.0\n'
    assert cache_count(two.format("queries", "queries") + two.format("hits", "hits")) == CacheCount(3.0, 3.0)


def test_models_are_told_by_both_apis() -> None:
    import json

    ollama = of_ollama("tiny", json.loads(said_by_ollama("show")[0]))
    assert ollama == Identity("tiny", (), "llama", "947K", "", 2048)  # it says "unknown" of the quantisation
    vllm = of_openai(json.loads(of_vllm("models")[0])["data"][0])
    assert vllm == Identity("llm", ("tiny-llama",), context=2048)


LLAMA = Identity("llama2:7b", ("Llama-2-7b-hf",), "llama", "6.7B", "F16", 4096)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (LLAMA, []),
        (replace(LLAMA, name="llm"), []),  # an alias is shared
        (replace(LLAMA, name="LLAMA2:7B", aliases=(), quantisation="", family=""), []),  # not told is no difference
        (replace(LLAMA, quantisation="Q4_0"), ["quantisation"]),
        (replace(LLAMA, context=2048, parameters="13B"), ["parameters", "context"]),
        (replace(LLAMA, name="mistral", aliases=(), family="mistral"), ["name", "family"]),
    ],
)
def test_what_differs_between_models_is_named(other: Identity, words: list[str]) -> None:
    found = differences({"phase1": LLAMA, "adapter": other})
    assert [difference.partition(":")[0] for difference in found] == words


def test_the_only_model_is_taken_and_of_several_none_is_guessed() -> None:
    assert chosen(["x"], "llama2:7b") == "x"
    assert chosen(["x", "llama2:7b"], "llama2:7b") == "llama2:7b"
    with pytest.raises(LookupError, match="x, y"):
        chosen(["x", "y"], "llama2:7b")


def shaped(target: str, workload: str, concurrency: int, **figures: Any) -> dict[str, Any]:
    empty = {"e2e_ms_p50": None, "requests_per_s": None, "ttft_ms_p50": None}
    return {"target": target, "workload": workload, "concurrency": concurrency, "stream": False, **empty, **figures}


def test_the_guides_table_has_measured_ratios_beside_the_claims() -> None:
    rows = [
        shaped("phase1", "guide", 1, e2e_ms_p50=3000.0, requests_per_s=0.5),
        shaped("phase1", "guide", 8, requests_per_s=1.0),
        shaped("adapter", "guide", 1, e2e_ms_p50=750.0, requests_per_s=1.25),
        shaped("adapter", "guide", 8, e2e_ms_p50=900.0, requests_per_s=5.0),
        shaped("adapter", "prefix-cold", 1, ttft_ms_p50=90.0),
        shaped("adapter", "prefix-repeated", 1, ttft_ms_p50=30.0),
    ]
    latency, throughput, batching, prefix = compared(rows)
    assert latency.measured == ("3.00 s", "0.750 s", "4.00x")
    assert throughput.measured == ("1.00 req/s", "5.00 req/s", "5.00x")
    assert batching.measured == ("2.00x", "4.00x", "2.00x")
    assert prefix.measured == (NOT_MEASURED, "3.00x", "3.00x")
    assert prefix_gain(rows, "phase1") is None
    assert all(NOT_MEASURED in value for line in compared([]) for value in line.measured)


def test_the_mix_has_the_documented_lengths_and_follows_from_the_seed() -> None:
    wide = Lengths(100_000, 100_000, 600)
    many = asks("mix", 4000, True, wide, 1, "salt")
    words, tokens = [len(ask.prompt.split()) for ask in many], [ask.answer_tokens for ask in many]
    assert median(words) == pytest.approx(88 / 1.3, rel=0.1)
    assert fmean(words) == pytest.approx(161 / 1.3, rel=0.1)
    assert median(tokens) == pytest.approx(225, rel=0.1)
    assert fmean(tokens) == pytest.approx(338, rel=0.1)
    assert asks("mix", 4000, True, wide, 1, "salt") == many
    assert [ask.answer_tokens for ask in asks("mix", 4000, True, wide, 1, "other")] == tokens
    assert max(len(ask.prompt.split()) for ask in asks("mix", 500, True, Lengths(30, 9, 5), 1, "")) == 30


def test_beginnings_are_new_or_shared_and_never_those_of_another_target() -> None:
    def beginnings(workload: str, salt: str) -> set[str]:
        return {ask.prompt.partition("\n")[0] for ask in asks(workload, 10, True, Lengths(), 1, salt)}

    assert len(beginnings("prefix-cold", "a")) == 10
    assert len(beginnings("prefix-repeated", "a")) == 1
    assert (
        len(set().union(*(beginnings(kind, salt) for kind in ("prefix-cold", "prefix-repeated") for salt in "ab")))
        == 22
    )
    assert len({ask.prompt for ask in asks("prefix-repeated", 10, True, Lengths(), 1, "a")}) == 10
    assert [ask.prompt for ask in asks("guide", 6, False, Lengths(), 1, "")] == [*GUIDE, GUIDE[0]]


def test_axes_end_at_round_numbers_and_lines_are_in_order() -> None:
    assert [round_up(value) for value in (0, 0.9, 1, 1.1, 32, 51, 700)] == [1, 1, 1, 2, 50, 100, 1000]
    rows = [{**shaped("a", "mix", count, x=value), "stream": True} for count, value in ((8, 2.0), (1, None), (4, 1.0))]
    assert series(rows, "mix", True, "x") == {"a": [(4, 1.0), (8, 2.0)]}


def test_progress_on_a_terminal_is_one_line_that_is_drawn_again() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = Progress(out)
    progress(CELL, "adapter", 1, 2)
    progress(CELL, "adapter", 2, 2)
    progress.close()
    assert out.getvalue().count("\r") == 2
    assert out.getvalue().count("\n") == 1
    assert "█" * 15 + "░" * 15 + " 1/2" in out.getvalue()
