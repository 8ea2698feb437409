"""The benchmark for operators, against real sockets: a server plays what a real Ollama and a real vLLM said."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench.host.__main__ import main
from bench.host.cache import cache_count
from bench.host.files import COLUMNS
from bench.host.prompts import GUIDE
from tests.unit.bench_host_server import MODEL, RecordedServer, found, of_vllm

BRIEF = ["--model", MODEL, "--name", "run", "--requests", "3", "--concurrency", "1"]


def run(directory: Path, *arguments: str) -> int:
    return main([*BRIEF, "--output", str(directory), *arguments])


def test_a_server_in_each_phase_and_vllm_give_figures_of_every_kind(tmp_path: Path) -> None:
    with RecordedServer() as phase1, RecordedServer() as adapter, RecordedServer("openai") as vllm:
        urls = "--phase1", phase1.url, "--adapter", adapter.url, "--vllm", vllm.url
        assert run(tmp_path, *urls, "--compare-unlike", "--concurrency", "1,2", "--requests", "4") == 0
        said = [asked["prompt"] for asked in adapter.prompts]
    results = found(tmp_path)
    assert len(results["rows"]) == 3 * 12  # four workloads, two numbers at once; both modes for two of them
    assert all(row["ok"] == 4 and not row["errors"] for row in results["rows"])
    assert set(GUIDE[:4]) <= set(said)
    for answer in results["answers"]:
        expected = 11 if answer["target"] != "vllm" else 6 if answer["stream"] else 8
        assert answer["answer_tokens"] == expected
        assert (answer["ttft_ms"] is not None) == answer["stream"]
        if answer["stream"]:
            assert 0 < answer["ttft_ms"] < answer["e2e_ms"]
            assert answer["itl_ms"] > 0  # the server waits after each piece; how long is seen depends on who reads when
    with (tmp_path / "run.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == len(results["rows"])
    assert {line["is_unlike"] for line in lines} == {"True"}


def test_the_first_text_is_timed_by_its_arrival_and_not_by_the_head_or_an_empty_piece(tmp_path: Path) -> None:
    with RecordedServer("openai") as vllm:  # its first event has a role and no text
        assert run(tmp_path, "--vllm", vllm.url, "--workloads", "guide", "--modes", "stream") == 0
    for answer in found(tmp_path)["answers"]:
        assert answer["pieces"] == 6
        assert answer["ttft_ms"] >= 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("503", "http-503"),
        ("error-line", "error-line"),
        ("broken-stream", "broken-stream"),
        ("no-last-line", "broken-stream"),
        ("bad-json", "bad-answer"),
        ("silence", "timeout"),
        ("no-http", "not-http"),
        ("closed", "closed"),
    ],
)
@pytest.mark.parametrize("api", ["ollama", "openai"])
def test_a_fault_is_counted_by_its_kind(tmp_path: Path, api: str, fault: str, kind: str) -> None:
    with RecordedServer(api, fault) as server:
        target = "--adapter" if api == "ollama" else "--vllm"
        more = "--timeout", "0.3", "--workloads", "guide", "--modes", "stream"
        assert run(tmp_path, target, server.url, *more) == 1
    (row,) = found(tmp_path)["rows"]
    assert row["errors"] == {kind: 3}
    assert row["ok"] == 0
    assert row["e2e_ms_p50"] is row["tokens_per_s"] is row["requests_per_s"] is None


def test_a_server_that_is_down_is_named_with_url_cause_and_next_command_and_the_other_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody, RecordedServer() as adapter:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert run(tmp_path, "--phase1", url, "--adapter", adapter.url, "--workloads", "guide") == 1
    said = capsys.readouterr().err
    assert f"phase1, {url}: refused" in said
    assert f"next: curl -i {url}/api/tags" in said
    results = found(tmp_path)
    assert list(results["absent"]) == ["phase1"]
    assert {row["target"] for row in results["rows"]} == {"adapter"}


@pytest.mark.parametrize(
    ("url", "cause"), [("https://127.0.0.1:{}", "tls:"), ("http://nobody.invalid:{}", "unknown-name:")]
)
def test_why_a_server_cannot_be_reached_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, cause: str
) -> None:
    def refuse_tls() -> None:
        connection, _ = plain.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as plain:
        Thread(target=refuse_tls, daemon=True).start()
        here = url.format(plain.getsockname()[1])
        assert run(tmp_path, "--adapter", here) == 1
        if "127.0.0.1" not in here:
            socket.create_connection(plain.getsockname()).close()  # nobody came; let the thread go
    assert f"adapter, {here}: {cause}" in capsys.readouterr().err


def test_a_server_that_counts_no_tokens_gets_no_rate_of_them_and_the_results_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RecordedServer("openai", "no-count") as vllm:
        assert run(tmp_path, "--vllm", vllm.url, "--workloads", "guide", "--modes", "stream") == 0
    (row,) = found(tmp_path)["rows"]
    assert (row["ok"], row["uncounted"], row["tokens_per_s"], row["itl_ms_p50"]) == (3, 3, None, None)
    assert "no count of tokens came from vllm" in capsys.readouterr().out


def test_a_server_that_goes_away_in_the_middle_is_counted(tmp_path: Path) -> None:
    class Leaving(RecordedServer):
        async def _generate(self, asked: dict[str, Any], writer: Any) -> bool:
            if len(self.prompts) == 2 and self._server is not None:
                self._server.close()
                writer.transport.abort()
                return False
            return await super()._generate(asked, writer)

    with Leaving() as server:
        assert run(tmp_path, "--adapter", server.url, "--workloads", "guide", "--modes", "whole") == 0
    (row,) = found(tmp_path)["rows"]
    assert row["ok"] == 1  # one of the two was the warm-up
    assert set(row["errors"]) == {"refused"}


def test_unlike_models_are_refused_and_marked_everywhere_when_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RecordedServer(quantisation="Q4_0") as phase1, RecordedServer(quantisation="F16") as adapter:
        urls = "--phase1", phase1.url, "--adapter", adapter.url, "--workloads", "guide"
        assert run(tmp_path, *urls) == 3
        assert not phase1.prompts
        assert not list(tmp_path.iterdir())
        refused = capsys.readouterr().err
        assert "quantisation: phase1 has Q4_0, adapter has F16" in refused
        assert "--compare-unlike" in refused
        assert run(tmp_path, *urls, "--compare-unlike") == 0
    shown = capsys.readouterr().out
    titles = [line for line in shown.splitlines() if line.startswith("### ")]
    assert titles
    assert all("UNLIKE MODELS" in title for title in titles)
    page = (tmp_path / "run.html").read_text()
    assert page.count("<caption>") == page.count("[UNLIKE MODELS]</caption>") > 0
    assert "UNLIKE MODELS" in (tmp_path / "run.svg").read_text()


def test_names_alone_may_differ_on_the_operators_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        RecordedServer(quantisation="Q4_0") as adapter,
        RecordedServer("openai") as vllm,
        RecordedServer(quantisation="F16") as other,
    ):
        urls = "--adapter", adapter.url, "--vllm", vllm.url, "--workloads", "guide"
        assert run(tmp_path, *urls) == 3
        assert "say --one-model if only their names differ" in capsys.readouterr().err
        assert run(tmp_path, *urls, "--one-model") == 0
        assert not found(tmp_path)["is_unlike"]
        assert "the word of whoever ran it (--one-model)" in (tmp_path / "run.html").read_text()
        assert run(tmp_path, *urls, "--one-model", "--phase1", other.url) == 3
        assert "quantisation: phase1 has F16, adapter has" in capsys.readouterr().err


def test_targets_of_an_earlier_run_stand_in_the_same_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RecordedServer() as server:
        assert run(tmp_path, "--phase1", server.url, "--workloads", "guide", "--name", "before") == 0
        more = "--workloads", "guide", "--beside", str(tmp_path / "before.json")
        assert run(tmp_path, "--adapter", server.url, *more) == 0
        with pytest.raises(SystemExit, match="2"):
            run(tmp_path, "--phase1", server.url, *more)
    results = found(tmp_path)
    assert list(results["targets"]) == ["phase1", "adapter"]
    latency = results["comparison"][0]
    assert latency["claimed"] == ["2–3 s", "0.5–0.8 s", "3–6x faster"]
    assert all(value.endswith(unit) for value, unit in zip(latency["measured"], (" s", " s", "x"), strict=True))
    assert "(claim) 0.5–0.8 s" in capsys.readouterr().out


def test_the_prefix_caches_hits_are_read_from_vllm_before_and_after(tmp_path: Path) -> None:
    with RecordedServer("openai") as vllm:
        assert run(tmp_path, "--vllm", vllm.url, "--workloads", "prefix-repeated") == 0
        shared = {asked["messages"][0]["content"].partition("\n")[0] for asked in vllm.prompts[1:]}
    assert len(shared) == 1  # the warm-up aside
    # The server has the counters of the second recording once more than the warm-up and the first beginning came.
    before, after = (cache_count(of_vllm(name)[0]) for name in ("metrics_before", "metrics_after"))
    assert before is not None
    assert after is not None
    expected = (after.hits - before.hits) / (after.queries - before.queries)
    assert found(tmp_path)["rows"][0]["prefix_hit_rate"] == pytest.approx(expected, abs=0.001)
    assert 0 < expected < 1


def test_time_that_is_over_leaves_a_partial_result_that_says_so(tmp_path: Path) -> None:
    with RecordedServer(delay_s=0.2) as server:
        assert run(tmp_path, "--adapter", server.url, "--max-seconds", "0.7", "--requests", "20") == 0
    results = found(tmp_path)
    assert results["is_partial"]
    assert results["stopped"] == "--max-seconds 0.7 were over"
    assert results["missing"]
    assert results["rows"][0]["is_partial"]
    assert "PARTIAL" in (tmp_path / "run.html").read_text()


def test_ctrl_c_writes_what_there_is(tmp_path: Path) -> None:
    with RecordedServer(delay_s=0.05) as server:
        command = [sys.executable, "-m", "bench.host", *BRIEF, "--requests", "1000", "--output", str(tmp_path)]
        running = subprocess.Popen(
            [*command, "--adapter", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(server.prompts) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    results = found(tmp_path)
    assert results["stopped"] == "stopped by Ctrl-C"
    assert [answer["kind"] for answer in results["answers"]].count("cut-off") == 1
    assert results["rows"][0]["ok"] >= 2


def test_a_dry_run_shows_the_requests_and_sends_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RecordedServer() as server:
        assert run(tmp_path, "--adapter", server.url, "--dry") == 0
        assert not server.received
    said = capsys.readouterr().out
    assert f"POST {server.url}/api/generate" in said
    assert GUIDE[0] in said
    assert "18 requests to each target" in said


@pytest.mark.parametrize(
    "arguments",
    [[], ["--adapter", "gpu-01"], ["--host", "a", "--adapter", "http://a"], ["--host", "a", "--requests", "0"],
     ["--host", "a", "--workloads", "guess"], ["--host", "a", "--beside", "/nowhere.json"],
     ["--host", "a", "--workloads", "prefix-cold", "--modes", "whole"], ["--adapter", "http://a:99999"]],
)  # fmt: skip
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2


def test_an_unknown_model_is_refused_with_the_names_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RecordedServer() as server:
        assert run(tmp_path, "--adapter", server.url, "--model", "llama2:7b") == 1
    said = capsys.readouterr().err
    assert "tinythink:latest" in said
    assert "--model NAME" in said


class _Tags(HTMLParser):
    """Opens and closes every tag in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name in ("src", "href")], "nothing is fetched"
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_has_no_script_and_escapes_what_a_server_says(tmp_path: Path) -> None:
    class Rude(RecordedServer):
        def __init__(self) -> None:
            super().__init__(quantisation="<script>alert(1)</script>")

    with Rude() as server:
        assert run(tmp_path, "--adapter", server.url, "--concurrency", "1,2") == 0
    page = (tmp_path / "run.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert {"svg", "polyline", "table"} <= tags.seen
    assert "&lt;SCRIPT&gt;" in page
    assert "prefers-color-scheme:dark" in page


def test_table_page_and_plot_are_made_again_from_the_json(tmp_path: Path) -> None:
    with RecordedServer() as server:
        assert run(tmp_path, "--adapter", server.url, "--workloads", "guide") == 0
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for name in ("run.csv", "run.html", "run.svg"):
        (tmp_path / name).unlink()
    assert run(tmp_path, "--render", str(tmp_path / "run.json")) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--render", str(tmp_path / "run.json"))


def test_progress_off_a_terminal_is_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RecordedServer() as server:
        assert run(tmp_path, "--adapter", server.url, "--workloads", "guide") == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("2/2 adapter: guide, 1 at once, whole")
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == 1
