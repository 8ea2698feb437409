"""Who is slow makes nobody else wait, and who leaves is not worked for."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn
from tests.contract.wire import Wire, get, request

Eventually = Callable[[Callable[[], bool]], None]
LONG = Behaviour(repeat=500, says="x" * 8000, limit=1_000_000)  # 40 MB, far more than the kernel keeps
STREAM = {"model": "llama2", "messages": [{"role": "user", "content": "x"}]}


PROMPT = {"model": "llama2", "prompt": "x"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", STREAM),
        ("/api/generate", PROMPT),
        ("/v1/chat/completions", {**STREAM, "stream": True}),
        ("/v1/completions", {**PROMPT, "stream": True}),
    ],
)
def test_the_first_token_does_not_wait_for_the_second(
    adapter: AdapterProcess, vllm: VllmStandIn, path: str, body: dict[str, Any]
) -> None:
    vllm.behaviour = Behaviour(delay_s=0.1)
    with Wire(adapter.port) as wire:
        wire.send(request(path, body))
        wire.head()
        pieces = [wire.chunk().decode()]
        while '" The"' not in pieces[-1]:  # a chat of OpenAI's begins with a role and no text
            assert len(pieces) < 3, pieces
            pieces.append(wire.chunk().decode())
        assert vllm.running == 1


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_work_of_vllm(
    adapter: AdapterProcess, vllm: VllmStandIn, eventually: Eventually, stream: bool, is_reset: bool
) -> None:
    vllm.behaviour = Behaviour(delay_s=0.02, repeat=10_000) if stream else Behaviour(is_hanging=True)
    gone = vllm.gone
    with Wire(adapter.port) as wire:
        wire.send(request("/api/chat", {**STREAM, "stream": stream}))
        if stream:
            wire.head()
            wire.chunk()
        else:
            eventually(lambda: any(found.path == "/v1/chat/completions" for found in vllm.received))
        if is_reset:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if stream:
        eventually(lambda: vllm.gone > gone and vllm.running == 0)
    else:
        line = adapter.event("request")
        assert (line["status"], line["error"]) == (499, "client gone")


def wait_until_nothing_moves(vllm: VllmStandIn) -> None:
    """Until vLLM has written nothing for a second: it is done, or held back."""
    before = -1
    while vllm.sent != before:
        before = vllm.sent
        time.sleep(1.0)


def test_a_slow_reader_is_waited_for_without_a_queue(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter()
    vllm.behaviour = LONG
    memory = adapter.memory_bytes()
    with Wire(adapter.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(request("/api/chat", {**STREAM, "options": {}}))
        wire.head()
        wait_until_nothing_moves(vllm)
        assert vllm.running == 1, "the whole answer was taken in, so it must be queued somewhere"
        assert adapter.memory_bytes() - memory < 30_000_000
        assert get(adapter.port, "/api/version").status_line == "HTTP/1.1 200 OK"
        lines = 0
        while chunk := wire.chunk():
            lines += 1
            last = chunk
            if lines == 30:
                break
        assert json.loads(last)["done"] is False


def test_a_slow_reader_is_not_taken_for_a_silent_vllm(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter(vllm={"chunk_timeout_s": 0.5})
    vllm.behaviour = LONG
    with Wire(adapter.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(request("/api/chat", STREAM))
        wire.head()
        wait_until_nothing_moves(vllm)
        time.sleep(2.0)
        lines = []
        while chunk := wire.chunk():
            lines.append(chunk)
        assert (len(lines), json.loads(lines[-1]).get("done")) == (5001, True)


def test_a_slow_reader_gets_everything_in_the_end(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(repeat=200)
    with Wire(adapter.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(request("/api/chat", {**STREAM, "options": {"num_predict": 1000}}))
        wire.head()
        time.sleep(0.3)
        lines = []
        while chunk := wire.chunk():
            lines.append(json.loads(chunk))
    assert len(lines) == 1001
    assert [line["done"] for line in lines].count(True) == 1
    text = "".join(line["message"]["content"] for line in lines)
    assert text == (" The quick brown fox jumps over the lazy dog." * 100)


def test_a_reader_that_never_reads_is_given_up(start_adapter: Start, vllm: VllmStandIn, eventually: Eventually) -> None:
    adapter = start_adapter(server={"stall_timeout_s": 1})
    vllm.behaviour = LONG
    gone = vllm.gone
    with Wire(adapter.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(request("/api/chat", STREAM))
        eventually(lambda: vllm.gone == gone + 1)


def test_many_streams_at_once_are_served_together(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(delay_s=0.01)
    wires = [Wire(adapter.port) for _ in range(64)]
    try:
        for wire in wires:
            wire.send(request("/api/chat", STREAM))
        answers = [wire.answer("POST") for wire in wires]
    finally:
        for wire in wires:
            wire.socket.close()
    assert {answer.chunks for answer in answers} == {11}


def test_memory_does_not_grow_with_the_number_of_requests(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter()

    def some(count: int) -> None:
        with Wire(adapter.port) as wire:
            for _ in range(count):
                wire.send(request("/api/chat", {**STREAM, "options": {"num_predict": 2}}))
                assert wire.answer("POST").chunks == 3

    some(100)
    before = adapter.memory_bytes()
    some(400)
    assert adapter.memory_bytes() - before < 3_000_000
