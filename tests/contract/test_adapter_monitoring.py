"""`/metrics` for Prometheus, the optional token, and several processes on one port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from tests.contract.adapter_process import AdapterProcess, Start, environment
from tests.contract.ollama_stand_in import OllamaStandIn
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"}
Eventually = Callable[[Callable[[], bool]], None]


def url(adapter: AdapterProcess, path: str) -> str:
    return f"http://127.0.0.1:{adapter.port}{path}"


def ask(adapter: AdapterProcess, **more: Any) -> httpx.Response:
    body = {"model": "llama2", "messages": [{"role": "user", "content": "hi"}], **more}
    return httpx.post(url(adapter, "/api/chat"), json=body, timeout=60)


def samples(adapter: AdapterProcess) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and label values -> value."""
    text = httpx.get(url(adapter, "/metrics"), headers=OPENMETRICS).text
    return {
        (sample.name.removeprefix("ollama_adapter_"), tuple(sample.labels.values())): sample.value
        for family in read_openmetrics(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_metrics_can_be_read_in_both_formats(start_adapter: Start) -> None:
    adapter = start_adapter()
    ask(adapter)
    new = httpx.get(url(adapter, "/metrics"), headers=OPENMETRICS)
    assert new.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert new.text.endswith("# EOF\n")
    old = httpx.get(url(adapter, "/metrics"))
    assert old.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = [
        {family.name for family in read(answer.text)} for read, answer in ((read_openmetrics, new), (read_plain, old))
    ]
    assert families[0] - {"ollama_adapter"} == families[1] - {"ollama_adapter_info"}
    assert {"ollama_adapter_requests", "ollama_adapter_time_to_first_token_seconds"} <= families[0]


def test_metrics_count_requests_tokens_and_times(start_adapter: Start) -> None:
    adapter = start_adapter()
    assert ask(adapter).status_code == 200
    assert ask(adapter, stream=False).status_code == 200
    assert ask(adapter, model="nobody").status_code == 404
    assert httpx.get(url(adapter, "/nowhere")).status_code == 404
    found = samples(adapter)
    model = "llama2:latest"
    assert found["requests_total", ("/api/chat", model, "200")] == 2
    assert found["requests_total", ("/api/chat", "", "404")] == 1
    assert found["requests_total", ("other", "", "404")] == 1
    assert found["output_tokens_total", (model,)] == 22
    assert found["prompt_tokens_total", (model,)] > 0
    assert found["time_to_first_token_seconds_count", (model,)] == 1
    assert found["inter_token_latency_seconds_count", (model,)] == 1
    assert found["request_duration_seconds_count", ("/api/chat", model)] == 2
    assert found["requests_in_flight", ()] == 1  # the one that asks


def test_a_client_that_leaves_is_counted(vllm: VllmStandIn, start_adapter: Start, eventually: Eventually) -> None:
    vllm.behaviour = Behaviour(delay_s=0.2)
    adapter = start_adapter()
    body = {"model": "llama2", "messages": [{"role": "user", "content": "hi"}]}
    with httpx.stream("POST", url(adapter, "/api/chat"), json=body) as answer:
        next(answer.iter_lines())
    eventually(lambda: samples(adapter).get(("aborted_requests_total", ("/api/chat", "llama2:latest"))) == 1)


def test_metrics_say_which_upstream_is_up(vllm: VllmStandIn, vision: OllamaStandIn, start_adapter: Start) -> None:
    adapter = start_adapter(vision={"url": vision.url, "models": ["llava"]})
    assert samples(adapter)["upstream_up", ("vLLM", vllm.url)] == 1
    assert samples(adapter)["upstream_up", ("Ollama Vision", vision.url)] == 1
    vllm.stop_listening()
    try:
        assert samples(adapter)["upstream_up", ("vLLM", vllm.url)] == 0
    finally:
        vllm.listen()


def test_with_a_token_only_clients_that_have_it_are_answered(
    vision: OllamaStandIn, tmp_path: Path, start_adapter: Start
) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    adapter = start_adapter(
        server={"token_file": str(tmp_path / "token")}, vision={"url": vision.url, "models": ["llava"]}
    )
    for path in ("/api/tags", "/metrics", "/api/version", "/v1/models"):
        refused = httpx.get(url(adapter, path))
        assert (refused.status_code, refused.json()) == (401, {"error": "unauthorized"})
        assert refused.headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer open sesam", "Basic open sesame", "open sesame", "Bearer", "Bearer \xe9"):
        headers = {b"Authorization": wrong.encode("latin-1")}
        assert httpx.get(url(adapter, "/api/tags"), headers=headers).status_code == 401
    assert httpx.get(url(adapter, "/api/tags"), headers={"x-api-key": "open sesam"}).status_code == 401
    right = {"Authorization": "bearer open sesame"}
    anthropic = {"x-api-key": "open sesame"}
    assert httpx.get(url(adapter, "/api/tags"), headers=anthropic).status_code == 200
    assert httpx.get(url(adapter, "/api/tags"), headers=right).status_code == 200
    for path in ("/", "/health", "/ready"):
        assert httpx.get(url(adapter, path)).status_code == 200
    for token in (right, anthropic):
        passed = httpx.post(url(adapter, "/api/generate"), json={"model": "llava", "prompt": "hi"}, headers=token)
        assert passed.status_code == 200
    assert all(not {"authorization", "x-api-key"} & request.headers.keys() for request in vision.received)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_token_file_without_a_token_lets_nobody_in_instead_of_everybody(tmp_path: Path, processes: int) -> None:
    token, config = tmp_path / "token", tmp_path / "adapter.toml"
    config.write_text(f'[server]\nport = 0\nprocesses = {processes}\ntoken_file = "{token}"\n')
    for content, said in ((None, "No such file"), ("\n", f"server.token_file: {token} is empty")):
        if content is not None:
            token.write_text(content)
        command = [sys.executable, "-m", "ollama_adapter", "--config", str(config)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
        assert "who has the port" not in done.stderr


def test_requests_beyond_the_limit_are_told_that_the_queue_is_full(vllm: VllmStandIn, start_adapter: Start) -> None:
    vllm.behaviour = Behaviour(delay_s=0.05)
    adapter = start_adapter(vllm={"max_requests": 2})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(adapter), range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 8
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
        assert answer.headers["retry-after"]


@pytest.fixture
def pair(start_adapter: Start) -> AdapterProcess:
    """Two processes on one port, both listening."""
    adapter = start_adapter(server={"processes": 2})
    adapter.event("listening")
    return adapter


def pids(adapter: AdapterProcess) -> list[int]:
    """The processes below the supervisor."""
    children = Path(f"/proc/{adapter.process.pid}/task/{adapter.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def many(adapter: AdapterProcess, count: int) -> list[int]:
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: ask(adapter, stream=False).status_code, range(count)))


def test_processes_on_one_port_are_one_server_to_clients(pair: AdapterProcess) -> None:
    assert len(pids(pair)) == 2
    assert many(pair, 40) == [200] * 40
    for _ in range(4):  # whichever process answers
        assert samples(pair)["requests_total", ("/api/chat", "llama2:latest", "200")] == 40


def test_what_one_process_loaded_all_list(pair: AdapterProcess) -> None:
    ask(pair, keep_alive="1h")
    for _ in range(6):
        models = httpx.get(url(pair, "/api/ps")).json()["models"]
        assert [model["name"] for model in models] == ["llama2:latest"]
    assert ask(pair, messages=[], keep_alive=0).json()["done_reason"] == "unload"
    for _ in range(6):
        assert httpx.get(url(pair, "/api/ps")).json() == {"models": []}


def test_a_process_that_dies_is_replaced_and_nobody_is_refused(pair: AdapterProcess, eventually: Eventually) -> None:
    first = pids(pair)
    os.kill(first[0], signal.SIGKILL)
    assert pair.event("process ended")["exit_code"] == -signal.SIGKILL
    assert many(pair, 20) == [200] * 20
    eventually(lambda: len(pids(pair)) == 2 and pids(pair) != first)
    assert many(pair, 20) == [200] * 20


def test_a_process_that_hangs_is_replaced(pair: AdapterProcess, eventually: Eventually) -> None:
    hanging = pids(pair)[0]
    os.kill(hanging, signal.SIGSTOP)
    assert pair.event("process hangs")["pid"] == hanging
    eventually(lambda: hanging not in pids(pair) and len(pids(pair)) == 2)
    assert many(pair, 20) == [200] * 20


def test_processes_drain_together_and_leave_nothing_behind(vllm: VllmStandIn, pair: AdapterProcess) -> None:
    children = pids(pair)
    vllm.behaviour = Behaviour(delay_s=0.2)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask, pair) for _ in range(4)]
        while vllm.running < 4:
            pass
        pair.terminate()
        for answer in answers:
            lines = [json.loads(line) for line in answer.result(60).text.splitlines()]
            assert lines[-1]["done"] is True
    assert pair.exit_code() == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_processes_end_when_their_supervisor_is_killed(pair: AdapterProcess, eventually: Eventually) -> None:
    children = pids(pair)
    pair.process.kill()
    pair.process.wait(30)
    eventually(lambda: not [pid for pid in children if Path(f"/proc/{pid}/exe").exists()])
