"""Hostile and broken clients: refused without harm to the others, in bounded time and memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.contract.adapter_process import FACTS, AdapterProcess
from tests.contract.vllm_stand_in import VllmStandIn
from tests.contract.wire import Wire, ask, get, request

CHAT = {"model": "llama2", "messages": [{"role": "user", "content": "x"}], "stream": False}
LIMITS = {
    "max_head_bytes": 4096,
    "max_body_bytes": 100_000,
    "head_timeout_s": 1,
    "body_timeout_s": 1,
    "idle_timeout_s": 1,
    "max_connections": 20,
}


@pytest.fixture(scope="module")
def strict(shared_vllm: VllmStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter with short limits."""
    vllm = {"url": shared_vllm.url, "aliases": ["llama2"], **FACTS}
    with AdapterProcess(tmp_path_factory.mktemp("strict"), server=LIMITS, vllm=vllm) as adapter:
        yield adapter


@pytest.fixture(autouse=True)
def unharmed(strict: AdapterProcess) -> Iterator[None]:
    """After every test the adapter serves as before."""
    yield
    assert strict.process.poll() is None
    assert get(strict.port, "/api/version").status_line == "HTTP/1.1 200 OK"


SMUGGLED = b"GET /api/ps HTTP/1.1\r\nHost: x.local\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        b"Content-Length: 6\r\nContent-Length: 0\r\n",
        b"Content-Length: +6\r\n",
        b"Content-Length: 6, 6\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: abc\r\n",
    ],
)
def test_a_request_with_two_possible_ends_is_refused_and_what_follows_is_not_read(
    strict: AdapterProcess, vllm: VllmStandIn, framing: bytes
) -> None:
    with Wire(strict.port) as wire:
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\n" + framing + b"\r\n0\r\n\r\n" + SMUGGLED)
        answer = wire.answer()
        assert answer.status_line.startswith("HTTP/1.1 400 Bad Request")
        assert "HTTP/1.1" not in answer.body
    assert vllm.received == []


def test_broken_chunks_are_refused(strict: AdapterProcess, vllm: VllmStandIn) -> None:
    raw = (
        b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"
        + SMUGGLED
    )
    assert ask(strict.port, raw).status_line == "HTTP/1.1 400 Bad Request"
    assert vllm.received == []


@pytest.mark.parametrize(
    "raw", [b"X-A: " + b"a" * 5000 + b"\r\n\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(900))]
)
def test_a_head_that_is_too_large_is_431_even_before_it_ends(strict: AdapterProcess, raw: bytes) -> None:
    answer = ask(strict.port, b"GET / HTTP/1.1\r\nHost: x.local\r\n" + raw)
    assert answer.status_line == "HTTP/1.1 431 Request Header Fields Too Large"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_413(strict: AdapterProcess, vllm: VllmStandIn, is_chunked: bool) -> None:
    body = json.dumps({**CHAT, "x": "a" * 200_000}).encode()
    raw = request("/api/chat", body)
    if is_chunked:
        raw = b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (
            len(body),
            body,
        )
    answer = ask(strict.port, raw, "POST")
    assert answer.status_line == "HTTP/1.1 413 Request Entity Too Large"
    assert json.loads(answer.body)["error"] == "request body larger than 100000 bytes (server.max_body_bytes)"
    assert answer.header("connection") == ["close"]
    assert vllm.received == []


def test_a_head_that_trickles_in_is_given_up(strict: AdapterProcess) -> None:
    with Wire(strict.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\n")
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                wire.send(b"X-A: 1\r\n")
                time.sleep(0.2)
                wire.socket.settimeout(0.01)
                try:
                    if wire.more():
                        break
                except TimeoutError:
                    continue
        except (BrokenPipeError, ConnectionResetError):
            return
        assert wire.until(b"\r\n") == b"HTTP/1.1 408 Request Timeout\r\n"


def test_a_body_that_stops_coming_is_given_up(strict: AdapterProcess) -> None:
    with Wire(strict.port) as wire:
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\nContent-Length: 100\r\n\r\n{")
        assert wire.until(b"\r\n") == b"HTTP/1.1 408 Request Timeout\r\n"


def test_an_idle_connection_is_closed(strict: AdapterProcess) -> None:
    with Wire(strict.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
        assert wire.answer().body == "Ollama is running"
        assert wire.is_closed()


def test_connections_beyond_the_limit_are_told_so(strict: AdapterProcess) -> None:
    wires = [Wire(strict.port) for _ in range(25)]
    answers = []
    for wire in wires:
        try:
            wire.send(b"GET / HTTP/1.1\r\nHost: x.local\r\n\r\n")
            answers.append(wire.answer().status_line)
        except (ConnectionError, TimeoutError):
            answers.append("")
        wire.socket.close()
    assert "HTTP/1.1 200 OK" in answers
    assert "HTTP/1.1 503 Service Unavailable: too many connections" in answers
    time.sleep(0.1)


def test_pipelined_requests_are_answered_in_order(strict: AdapterProcess) -> None:
    with Wire(strict.port) as wire:
        version = b"GET /api/version HTTP/1.1\r\nHost: x.local\r\n\r\n"
        wire.send(request("/api/chat", CHAT) + version + request("/api/chat", CHAT) + version)
        bodies = [wire.answer().body for _ in range(4)]
    assert ["quick" in body for body in bodies] == [True, False, True, False]


@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_request_may_come_in_any_pieces(strict: AdapterProcess, size: int) -> None:
    raw = request("/api/chat", CHAT)
    with Wire(strict.port) as wire:
        for at in range(0, len(raw), size):
            wire.send(raw[at : at + size])
        assert "quick" in wire.answer("POST").body


def test_an_offer_of_http2_is_ignored_as_javas_client_expects(strict: AdapterProcess) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    with Wire(strict.port) as wire:
        for _ in range(2):
            wire.send(request("/api/chat", CHAT, offer))
            assert "quick" in wire.answer("POST").body


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(strict: AdapterProcess) -> None:
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = ask(strict.port, b"POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert (answer.status_line, answer.header("transfer-encoding")) == ("HTTP/1.0 200 OK", [])
    assert json.loads(answer.body.splitlines()[-1])["done"] is True


def test_the_go_ahead_for_a_body_is_given_and_not_for_one_nobody_reads(strict: AdapterProcess) -> None:
    body = json.dumps(CHAT).encode()
    with Wire(strict.port) as wire:
        wire.send(
            b"POST /api/chat HTTP/1.1\r\nHost: x.local\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        assert wire.head()[0] == "HTTP/1.1 100 Continue"
        wire.send(body)
        assert "quick" in wire.answer("POST").body
    with Wire(strict.port) as wire:
        wire.send(b"POST /nope HTTP/1.1\r\nHost: x.local\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        assert wire.answer("POST").status_line == "HTTP/1.1 404 Not Found"


def test_a_deeply_nested_body_is_refused(strict: AdapterProcess) -> None:
    body = b'{"model":"llama2","messages":' + b"[" * 50_000
    answer = ask(strict.port, request("/api/chat", body), "POST")
    assert (answer.status_line, answer.body) == ("HTTP/1.1 400 Bad Request", '{"error":"exceeded max depth"}')


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\x00" * 10_000, b"GET\r\n\r\n", b"a" * 10_000]
)
def test_what_is_not_http_is_refused(strict: AdapterProcess, raw: bytes) -> None:
    assert ask(strict.port, raw).status_line[9:10] == "4"


def test_a_client_that_only_connects_and_leaves_is_no_event(strict: AdapterProcess) -> None:
    for _ in range(10):
        Wire(strict.port).socket.close()
