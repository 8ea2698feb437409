"""What goes wrong with a real vLLM: it loads, dies, hangs, drains and comes back; clients leave in the middle of an answer."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import engines
from tests.contract.adapter_process import FACTS, AdapterProcess
from tests.contract.recorded import Answer
from tests.contract.wire import Wire, get, post, request

pytestmark = pytest.mark.engines
Eventually = Callable[[Callable[[], bool]], None]

RUNNING, GENERATED = "vllm:num_requests_running", "vllm:generation_tokens_total"
SHORT = {"model": "llama2", "prompt": "x"}
WHOLE = {**SHORT, "stream": False}
# The miniature model ends its answers after eleven tokens; this grammar does not let it before it has written as many letters.
LETTERS = 1800
LONG = {
    **SHORT, "options": {"num_predict": -1},
    "format": {
        "type": "object", "properties": {"a": {"type": "string", "minLength": LETTERS}}, "required": ["a"],
    },
}  # fmt: skip
_LONG_OPENAI = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": LONG["format"]}}}
LONG_CHAT = {
    "model": "llama2", "stream": True, "messages": [{"role": "user", "content": "x"}], **_LONG_OPENAI,
}  # fmt: skip
BODIES = {"/api/generate": LONG, "/v1/chat/completions": LONG_CHAT}


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """A vLLM of this module's own, since it will be killed."""
    if reason := engines.why_not():
        pytest.skip(reason)
    one = engines.engine("plain", tmp_path_factory.mktemp("vllm"))
    yield one
    one.stop()


@pytest.fixture
def engine(shared_engine: engines.Engine, eventually: Eventually) -> engines.Engine:
    """Running, with nothing to do."""
    if not shared_engine.is_running():
        shared_engine.start()
    shared_engine.wait()
    eventually(lambda: not shared_engine.metric(RUNNING))
    return shared_engine


@pytest.fixture
def adapter(shared_engine: engines.Engine, tmp_path: Path) -> Iterator[AdapterProcess]:
    """In front of it; gives up on a silent vLLM after two seconds."""
    vllm = {
        "url": shared_engine.url, "aliases": ["llama2"], **FACTS, "first_byte_timeout_s": 2, "chunk_timeout_s": 2,
    }  # fmt: skip
    with AdapterProcess(tmp_path, vllm=vllm) as process:
        yield process


def begun(adapter: AdapterProcess, path: str, body: Any) -> Wire:
    """A client that has got the first pieces of a long answer."""
    wire = Wire(adapter.port)
    wire.send(request(path, body))
    status_line, _ = wire.head()
    assert status_line == "HTTP/1.1 200 OK"
    for _ in range(5):
        assert wire.chunk()
    return wire


def remaining(wire: Wire) -> list[str]:
    """The lines of the rest of the answer; fails where it breaks off without its last chunk."""
    pieces = []
    with wire:
        while piece := wire.chunk():
            pieces.append(piece)
    return b"".join(pieces).decode().split("\n")[:-1]


def test_while_it_loads_every_request_is_told_so_and_then_served(
    shared_engine: engines.Engine, adapter: AdapterProcess
) -> None:
    shared_engine.stop()
    shared_engine.start()
    told: list[Answer] = []
    while (answer := post(adapter.port, "/api/generate", WHOLE)).status_line != "HTTP/1.1 200 OK":
        assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
        assert answer.header("retry-after")
        assert json.loads(answer.body)["error"].startswith("vLLM is not reachable")
        assert get(adapter.port, "/ready").status_line[9:12] in {"200", "503"}
        told.append(answer)
        assert shared_engine.is_running()
        time.sleep(0.2)
    assert told
    assert json.loads(answer.body)["response"] == " The quick brown fox jumps over the lazy dog."
    assert get(adapter.port, "/ready").status_line == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", LONG),
        ("/api/generate", {**LONG, "stream": False}),
        ("/v1/chat/completions", LONG_CHAT),
    ],
    ids=["stream", "whole", "openai"],
)
def test_the_request_of_a_client_that_leaves_is_aborted(
    engine: engines.Engine,
    adapter: AdapterProcess,
    path: str,
    body: Any,
    record_property: Callable[[str, object], None],
) -> None:
    before = engine.metric(GENERATED)
    with Wire(adapter.port) as wire:
        wire.send(request(path, body))
        while not engine.metric(RUNNING):
            time.sleep(0.01)
    left = time.monotonic()
    while engine.metric(RUNNING):
        # Ten times what is promised: a machine that is busy with other things is not the adapter's fault.
        assert time.monotonic() - left < 10, "vLLM still works for a client that has gone"
        time.sleep(0.01)
    record_property("seconds until vLLM stopped", round(time.monotonic() - left, 3))
    assert engine.metric(GENERATED) - before < LETTERS / 2


def test_one_that_hangs_is_waited_for_no_longer_than_allowed_and_serves_when_it_goes_on(
    engine: engines.Engine, adapter: AdapterProcess, eventually: Eventually
) -> None:
    wire = begun(adapter, "/api/generate", LONG)
    engine.signal(signal.SIGSTOP)
    try:
        assert json.loads(remaining(wire)[-1]) == {"error": "vLLM was silent for 2 s"}
        answer = post(adapter.port, "/api/generate", SHORT)
        assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
        assert json.loads(answer.body)["error"] == "vLLM did not answer within 2 s"
        ready = get(adapter.port, "/ready")
        assert ready.status_line == "HTTP/1.1 503 Service Unavailable"
        assert get(adapter.port, "/health").status_line == "HTTP/1.1 200 OK"
    finally:
        engine.signal(signal.SIGCONT)
    # What was given up is aborted as soon as vLLM hears of it.
    eventually(lambda: not engine.metric(RUNNING))
    answer = post(adapter.port, "/api/generate", WHOLE)
    assert json.loads(answer.body)["response"] == " The quick brown fox jumps over the lazy dog."


def test_when_it_dies_every_client_is_told_and_it_is_found_again_when_it_is_back(
    engine: engines.Engine, adapter: AdapterProcess
) -> None:
    streams = {path: begun(adapter, path, body) for path, body in BODIES.items()}
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(post, adapter.port, "/api/generate", {**LONG, "stream": False})
        while engine.metric(RUNNING) < 3:
            time.sleep(0.01)
        engine.kill()
        answer = whole.result(60)
    last = {path: [line for line in remaining(wire) if line][-1] for path, wire in streams.items()}
    assert last["/api/generate"].startswith('{"error":"vLLM '), last
    assert json.loads(last["/v1/chat/completions"].removeprefix("data: "))["error"]["message"].startswith("vLLM "), last
    assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
    assert json.loads(answer.body)["error"].startswith("vLLM ")
    answer = post(adapter.port, "/api/generate", WHOLE)
    assert (answer.status_line[9:12], answer.header("retry-after")) == ("503", ["5"])
    engine.start()
    engine.wait()
    assert post(adapter.port, "/api/generate", WHOLE).status_line == "HTTP/1.1 200 OK"


def test_one_that_is_stopped_in_order_finishes_what_it_has_begun(
    engine: engines.Engine, adapter: AdapterProcess
) -> None:
    wire = begun(adapter, "/api/generate", LONG)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(engine.stop)
        last = json.loads(remaining(wire)[-1])
        stopped.result(120)
    assert last.get("done") or "vLLM" in last["error"], last
    assert post(adapter.port, "/api/generate", WHOLE).status_line == "HTTP/1.1 503 Service Unavailable"
