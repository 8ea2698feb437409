"""vLLM starting, down, hanging, failing: every client is told, in time and in JSON, and never gets a silent end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn
from tests.contract.wire import Wire, get, post, request

ASK = {"model": "llama2", "prompt": "x"}
CHAT = {"model": "llama2", "messages": [{"role": "user", "content": "x"}]}
WHOLE = {**ASK, "stream": False}
Eventually = Callable[[Callable[[], bool]], None]


def lines(body: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("body", [ASK, WHOLE, {"model": "llama2"}, {**ASK, "context": [259]}])
def test_a_vllm_that_is_down_is_a_503_that_says_so(start_adapter: Start, body: dict[str, Any]) -> None:
    with VllmStandIn() as vllm:
        url = vllm.url
    adapter = start_adapter(vllm={"url": url})
    answer = post(adapter.port, "/api/generate", body)
    assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
    assert answer.header("content-type") == ["application/json; charset=utf-8"]
    assert answer.header("retry-after") == ["5"]
    assert json.loads(answer.body)["error"].startswith(f"vLLM is not reachable at {url}: connection refused")


def test_readiness_is_vllms_and_liveness_is_the_adapters(start_adapter: Start) -> None:
    with VllmStandIn() as vllm:
        adapter = start_adapter(vllm={"url": vllm.url})
        assert json.loads(get(adapter.port, "/ready").body) == {"status": "ready", "models": {"llama2:latest": "ready"}}
        vllm.behaviour = Behaviour(served=("other",))
        answer = get(adapter.port, "/ready")
        assert (answer.status_line[9:12], json.loads(answer.body)["error"]) == ("503", "vLLM serves other, not llm")
        vllm.behaviour = Behaviour(health=503)
        assert json.loads(get(adapter.port, "/ready").body)["error"] == "vLLM's /health says 503"
        vllm.stop_listening()
        answer = get(adapter.port, "/ready")
        assert (answer.status_line[9:12], answer.header("retry-after")) == ("503", ["5"])
        assert "connection refused" in json.loads(answer.body)["error"]
        assert get(adapter.port, "/health").status_line == "HTTP/1.1 200 OK"
        assert get(adapter.port, "/api/tags").status_line == "HTTP/1.1 200 OK"
        vllm.listen()
        vllm.behaviour = Behaviour()
        assert get(adapter.port, "/ready").status_line == "HTTP/1.1 200 OK"
        assert post(adapter.port, "/api/generate", WHOLE).status_line == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(cut_after=3), "vLLM closed the connection before the answer was complete"),
        (Behaviour(error_after=3), "EngineCore died"),
        (Behaviour(abort_after=3), "vLLM stopped before the answer was complete"),
    ],
)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_stream_that_breaks_off_ends_in_an_error_line(
    adapter: AdapterProcess, vllm: VllmStandIn, behaviour: Behaviour, message: str, path: str
) -> None:
    vllm.behaviour = behaviour
    answer = post(adapter.port, path, {**CHAT, **ASK})
    found = lines(answer.body)
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert [line["done"] for line in found[:-1]] == [False, False]
    assert list(found[-1]) == ["error"]
    assert message in found[-1]["error"]


@pytest.mark.parametrize("behaviour", [Behaviour(cut_after=0), Behaviour(error_after=0), Behaviour(abort_after=0)])
def test_before_the_first_line_an_error_has_a_status_of_its_own(
    adapter: AdapterProcess, vllm: VllmStandIn, behaviour: Behaviour
) -> None:
    vllm.behaviour = behaviour
    answer = post(adapter.port, "/api/chat", CHAT)
    assert answer.status_line[9:10] == "5"
    assert list(json.loads(answer.body)) == ["error"]


@pytest.mark.parametrize("body", [WHOLE, {**WHOLE, "options": {"stop": ["never", "said"]}}, ASK])
def test_an_answer_that_a_stopping_vllm_gives_up_is_a_503_to_come_back_for(
    adapter: AdapterProcess, vllm: VllmStandIn, body: dict[str, Any]
) -> None:
    vllm.behaviour = Behaviour(abort_after=0)
    answer = post(adapter.port, "/api/generate", body)
    assert (answer.status_line[9:12], answer.header("retry-after")) == ("503", ["5"])
    assert json.loads(answer.body)["error"].startswith("vLLM stopped before the answer was complete")


def test_a_connection_survives_an_error_and_serves_the_next_request(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    with Wire(adapter.port) as wire:
        for behaviour, status in (
            (Behaviour(error_after=2), "200"),
            (Behaviour(status=500), "500"),
            (Behaviour(), "200"),
        ):
            vllm.behaviour = behaviour
            wire.send(request("/api/chat", CHAT))
            assert wire.answer("POST").status_line[9:12] == status


@pytest.mark.parametrize(
    ("status", "expected", "message"),
    [
        (400, "400", "boom"),
        (422, "422", "boom"),
        (500, "500", "boom"),
        (401, "502", "vLLM refused the adapter's key (vllm.api_key_file): boom"),
        (503, "503", "server busy, please try again.  maximum pending requests exceeded"),
    ],
)
@pytest.mark.parametrize("body", [ASK, WHOLE])
def test_a_refusal_of_vllms_keeps_its_message(
    adapter: AdapterProcess, vllm: VllmStandIn, status: int, expected: str, message: str, body: dict[str, Any]
) -> None:
    vllm.behaviour = Behaviour(status=status)
    answer = post(adapter.port, "/api/generate", body)
    assert (answer.status_line[9:12], json.loads(answer.body)["error"]) == (expected, message)


@pytest.mark.parametrize(
    "message",
    [
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "cannot schedule new futures after shutdown",
    ],
)
@pytest.mark.parametrize("body", [ASK, WHOLE])
def test_an_engine_that_dies_or_drains_is_a_503_to_come_back_for(
    adapter: AdapterProcess, vllm: VllmStandIn, message: str, body: dict[str, Any], eventually: Eventually
) -> None:
    vllm.behaviour = Behaviour(status=500, error=message)
    answer = post(adapter.port, "/api/generate", body)
    assert (answer.status_line[9:12], answer.header("retry-after")) == ("503", ["5"])
    assert json.loads(answer.body)["error"] == f"vLLM is going down and will be started again: {message}"
    vllm.behaviour = Behaviour()
    eventually(lambda: post(adapter.port, "/api/generate", WHOLE).status_line[9:12] == "200")


def test_of_a_vllm_that_drains_clients_are_told_without_asking_it_until_it_serves_again(
    adapter: AdapterProcess, vllm: VllmStandIn, eventually: Eventually
) -> None:
    vllm.behaviour = Behaviour(status=500, error="cannot schedule new futures after shutdown")
    first = post(adapter.port, "/api/generate", WHOLE)
    vllm.behaviour = Behaviour(is_hanging=True)  # as it does in the middle of its end
    for path, body in (("/api/generate", WHOLE), ("/api/generate", ASK)):
        answer = post(adapter.port, path, body)
        assert (answer.status_line, answer.body) == (first.status_line, first.body)
        assert answer.header("retry-after") == ["5"]
    time.sleep(1.5)  # it has been asked meanwhile, and said nothing
    assert post(adapter.port, "/api/generate", WHOLE).body == first.body
    vllm.behaviour = Behaviour()
    eventually(lambda: post(adapter.port, "/api/generate", WHOLE).status_line[9:12] == "200")


def test_a_vllm_with_another_model_is_not_ready_rather_than_missing(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(served=("other",))
    answer = post(adapter.port, "/api/generate", ASK)
    assert answer.status_line[9:12] == "503"
    assert "vLLM does not serve 'llm' (vllm.served_model)" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(("body", "limit"), [(ASK, "first_byte_timeout_s"), (WHOLE, "answer_timeout_s")])
def test_a_vllm_that_hangs_is_not_waited_for_for_ever(
    start_adapter: Start, vllm: VllmStandIn, body: dict[str, Any], limit: str
) -> None:
    adapter = start_adapter(vllm={limit: 0.5})
    vllm.behaviour = Behaviour(is_hanging=True)
    answer = post(adapter.port, "/api/generate", body)
    assert (answer.status_line[9:12], json.loads(answer.body)["error"]) == ("503", "vLLM did not answer within 0.5 s")


def test_a_stream_that_falls_silent_ends_in_an_error_line(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter(vllm={"chunk_timeout_s": 0.5})
    vllm.behaviour = Behaviour(silent_after=3)
    found = lines(post(adapter.port, "/api/generate", ASK).body)
    assert found[-1] == {"error": "vLLM was silent for 0.5 s"}


def test_something_else_on_vllms_port_is_named(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(is_garbage=True)
    answer = post(adapter.port, "/api/generate", ASK)
    assert answer.status_line[9:12] == "503"
    assert "vLLM did not answer in HTTP" in json.loads(answer.body)["error"]


def test_a_kept_connection_that_vllm_has_closed_is_replaced_unseen(start_adapter: Start) -> None:
    with VllmStandIn() as vllm:
        adapter = start_adapter(vllm={"url": vllm.url, "context": "off"})
        vllm.behaviour = Behaviour(closes_reused=True)
        for _ in range(3):
            assert post(adapter.port, "/api/generate", WHOLE).status_line == "HTTP/1.1 200 OK"
        assert vllm.connections == 3
        assert len([found for found in vllm.received if found.path == "/v1/chat/completions"]) == 5


def test_connections_to_vllm_are_kept(start_adapter: Start) -> None:
    with VllmStandIn() as vllm:
        adapter = start_adapter(vllm={"url": vllm.url})
        for body in (WHOLE, ASK, WHOLE, ASK):
            post(adapter.port, "/api/generate", body)
        assert vllm.connections == 1


def test_a_restarted_vllm_is_found_again(start_adapter: Start) -> None:
    with VllmStandIn() as vllm:
        adapter = start_adapter(vllm={"url": vllm.url})
        assert post(adapter.port, "/api/generate", WHOLE).status_line[9:12] == "200"
        vllm.stop_listening()
        assert post(adapter.port, "/api/generate", WHOLE).status_line[9:12] == "503"
        vllm.listen()
        assert post(adapter.port, "/api/generate", WHOLE).status_line[9:12] == "200"


@pytest.mark.parametrize(
    "behaviour", [Behaviour(tokens_per_frame=3), Behaviour(tokens_per_frame=100), Behaviour(sends_comments=True)]
)
def test_a_stream_may_come_in_any_pieces(adapter: AdapterProcess, vllm: VllmStandIn, behaviour: Behaviour) -> None:
    vllm.behaviour = behaviour
    found = lines(post(adapter.port, "/api/generate", ASK).body)
    assert "".join(line["response"] for line in found) == " The quick brown fox jumps over the lazy dog."
    assert (found[-1]["done"], found[-1]["eval_count"]) == (True, 11)


def test_the_engines_timings_reach_the_client(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(
        metrics={"time_to_first_token_ms": 12.0, "generation_time_ms": 34.0, "queue_time_ms": 1.0}
    )
    for body in (ASK, WHOLE):
        last = lines(post(adapter.port, "/api/generate", body).body)[-1]
        assert (last["prompt_eval_duration"], last["eval_duration"]) == (12_000_000, 34_000_000)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_stop_strings_beyond_those_that_vllm_takes_end_the_answer_too(
    start_adapter: Start, vllm: VllmStandIn, is_streamed: bool
) -> None:
    adapter = start_adapter()
    stops = ["never", "one", "of", "these", " fox"]
    for sent in ([5, 4], [4]):  # refused once, then known
        vllm.received.clear()
        body = {**ASK, "stream": is_streamed, "options": {"temperature": 0, "stop": stops}}
        found = lines(post(adapter.port, "/api/generate", body).body)
        assert "".join(line["response"] for line in found) == " The quick brown"
        assert (found[-1]["done"], found[-1]["done_reason"]) == (True, "stop")
        assert all(found[-1][name] > 0 for name in ("total_duration", "prompt_eval_count", "eval_count"))
        asked = [request.json for request in vllm.received if request.path == "/v1/chat/completions"]
        assert [len(request["stop"]) for request in asked] == sent


def test_a_key_for_vllm_is_sent_and_never_logged(start_adapter: Start, vllm: VllmStandIn, tmp_path: Any) -> None:
    (tmp_path / "key").write_text("sk-secret\n", encoding="utf-8")
    adapter = start_adapter(vllm={"api_key_file": str(tmp_path / "key")})
    post(adapter.port, "/api/generate", ASK)
    assert vllm.received[-1].headers["authorization"] == "Bearer sk-secret"
    adapter.event("request")
    assert "sk-secret" not in json.dumps(adapter.log)


def test_a_request_leaves_one_line_in_the_log(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter()
    post(adapter.port, "/api/generate", ASK, "X-Request-Id: mine-7\r\n")
    line = adapter.event("request")
    assert line["output_tokens"] == 11
    assert {name: line[name] for name in ("method", "path", "status", "model", "backend", "request_id")} == {
        "method": "POST", "path": "/api/generate", "status": 200, "model": "llama2", "backend": "vllm",
        "request_id": "mine-7",
    }  # fmt: skip
    assert vllm.received[0].headers["x-request-id"] == "mine-7"
    assert [entry["event"] for entry in adapter.log] == ["listening", "request"]
