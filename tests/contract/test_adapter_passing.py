"""Requests for the models of Ollama Vision: passed on byte for byte, in both directions, without being held."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.ollama_stand_in import LINES, LLAVA, OllamaStandIn
from tests.contract.wire import Wire, ask, get, post, request

Eventually = Callable[[Callable[[], bool]], None]
ODD_BODY = b'{ "model" : "llava:7b",\n "prompt":"caf\xc3\xa9 \\u00e9", "x": 1e400, "dup":1, "dup":2 }  '


def test_a_request_arrives_byte_for_byte(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    headers = "User-Agent: mine/1\r\nAuthorization: Bearer x\r\nContent-Type: text/odd\r\nX-Request-Id: abc-1\r\n"
    ask(adapter.port, request("/api/generate?a=b", ODD_BODY, headers), "POST")
    received = vision.received[-1]
    assert (received.method, received.path, received.body) == ("POST", "/api/generate?a=b", ODD_BODY)
    sent = {"user-agent": "mine/1", "authorization": "Bearer x", "content-type": "text/odd", "x-request-id": "abc-1"}
    assert {name: received.headers[name] for name in sent} == sent


def test_the_other_server_sees_its_own_name_and_no_browser(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    body = {"model": "llava:7b"}
    ask(adapter.port, request("/api/show", body, "Origin: http://localhost:3000\r\nConnection: close, X-A\r\n"), "POST")
    received = vision.received[-1]
    assert received.headers["host"] == f"127.0.0.1:{vision.port}"
    assert not {"origin", "connection"} & received.headers.keys()


def test_an_answer_comes_back_byte_for_byte(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    answer = post(adapter.port, "/api/generate", {"model": "llava:7b"})
    assert (answer.body.encode(), answer.chunks) == (b"".join(LINES), len(LINES))
    assert answer.header("content-type") == ["application/x-ndjson"]
    vision.whole, vision.status = b'{"error":"no   such \\u003cthing"}', 418
    answer = post(adapter.port, "/api/chat", {"model": "llava:7b"})
    assert (answer.status_line[9:12], answer.body.encode()) == ("418", vision.whole)
    assert (answer.header("content-length"), answer.header("x-kept")) == ([str(len(vision.whole))], ["yes"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/embed", {"model": "nomic-embed-text"}),
        ("POST", "/api/embeddings", {"model": "nomic-embed-text:latest"}),
        ("POST", "/api/show", {"name": "LLAVA:7b"}),
        ("POST", "/api/pull", {"name": "llava:7b"}),
        ("POST", "/api/copy", {"source": "llava:7b", "destination": "x"}),
        ("DELETE", "/api/delete", {"model": "library/llava:7b"}),
        ("POST", "/v1/chat/completions", {"model": "llava:7b"}),
        ("POST", "/v1/embeddings", {"model": "nomic-embed-text"}),
    ],
)
def test_every_route_with_a_model_is_passed_on(
    adapter: AdapterProcess, vision: OllamaStandIn, method: str, path: str, body: dict[str, str]
) -> None:
    vision.whole = b"{}"
    assert ask(adapter.port, request(path, body, method=method), method).status_line == "HTTP/1.1 200 OK"
    assert (vision.received[-1].method, vision.received[-1].path, vision.received[-1].json) == (method, path, body)


def test_a_model_that_only_the_other_server_lists_is_found(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    assert post(adapter.port, "/api/generate", {"model": "fresh"}).status_line == "HTTP/1.1 404 Not Found"
    vision.models = [LLAVA, {"name": "fresh:latest", "model": "fresh:latest"}]
    assert post(adapter.port, "/api/generate", {"model": "fresh"}).body.encode() == b"".join(LINES)


def test_a_name_of_vllms_stays_vllms_whoever_lists_it(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    vision.models = [{"name": "llama2:latest", "model": "llama2:latest", "digest": "other"}]
    listed = json.loads(get(adapter.port, "/api/tags").body)["models"]
    assert [entry["model"] for entry in listed].count("llama2:latest") == 1
    assert "The quick" in post(adapter.port, "/api/generate", {"model": "llama2", "prompt": "x", "stream": False}).body


def test_the_first_line_does_not_wait_for_the_second(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    vision.lines = [LINES[0], LINES[1]] * 2
    vision.delay_s = 0.3
    with Wire(adapter.port) as wire:
        wire.send(request("/api/generate", {"model": "llava:7b"}))
        wire.head()
        assert wire.chunk() == LINES[0]
        assert vision.running == 1
        assert [wire.chunk() for _ in range(4)] == [LINES[1], LINES[0], LINES[1], b""]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_is_passed_on_while_it_is_still_coming(
    start_adapter: Start, vision: OllamaStandIn, eventually: Eventually, is_chunked: bool
) -> None:
    picture = b"A" * 3_000_000
    body = b'{"model":"llava:7b","prompt":"x","images":["' + picture + b'"]}'
    limit = {"max_body_bytes": 1_000_000}  # for vLLM's model: what is passed on has no limit
    adapter = start_adapter(server=limit, vision={"url": vision.url, "models": ["llava:7b"]})
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
    connections = vision.connections
    with Wire(adapter.port) as wire:
        wire.send(f"POST /api/generate HTTP/1.1\r\nHost: x.local\r\n{framing}\r\n\r\n".encode())
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        for number, piece in enumerate(pieces):
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if number == 5:
                eventually(lambda: vision.connections > connections)
        if is_chunked:
            wire.send(b"0\r\n\r\n")
        assert wire.answer("POST").body.encode() == b"".join(LINES)
    assert vision.received[-1].body == body
    assert adapter.memory_bytes() < 300_000_000


def test_a_large_body_whose_model_comes_last_is_collected_first(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    body = b'{"images":["' + b"A" * 2_000_000 + b'"],"model":"llava:7b"}'
    assert ask(adapter.port, request("/api/generate", body), "POST").body.encode() == b"".join(LINES)
    assert vision.received[-1].body == body


def test_a_client_that_leaves_ends_the_work_of_the_other_server(
    adapter: AdapterProcess, vision: OllamaStandIn, eventually: Eventually
) -> None:
    vision.lines, vision.delay_s = LINES * 1000, 0.02
    gone = vision.gone
    with Wire(adapter.port) as wire:
        wire.send(request("/api/generate", {"model": "llava:7b"}))
        wire.head()
        wire.chunk()
    eventually(lambda: vision.gone == gone + 1)


def test_an_answer_that_breaks_off_ends_in_an_error_line(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    vision.lines, vision.cut_after = LINES * 2, 2
    answer = post(adapter.port, "/api/generate", {"model": "llava:7b"})
    lines = answer.body.splitlines(keepends=True)
    assert "".join(lines[:2]).encode() == b"".join(LINES)
    assert "closed the connection" in json.loads(lines[2])["error"]


def test_an_answer_of_known_length_that_breaks_off_is_not_taken_for_whole(start_adapter: Start) -> None:
    class Cut(OllamaStandIn):
        async def respond(self, request, writer, is_first):  # type: ignore[no-untyped-def]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
            await writer.drain()
            return False

    with Cut() as vision:
        adapter = start_adapter(vision={"url": vision.url, "models": ["llava:7b"]})
        with Wire(adapter.port) as wire:
            wire.send(request("/api/show", {"model": "llava:7b"}))
            _, headers = wire.head()
            assert ("content-length", "100") in [(name.lower(), value) for name, value in headers]
            assert wire.is_closed()


def test_without_the_other_server_its_models_are_503_and_vllms_are_served(start_adapter: Start) -> None:
    with OllamaStandIn() as vision:
        url = vision.url
    adapter = start_adapter(vision={"url": url, "models": ["llava:7b"]})
    answer = post(adapter.port, "/api/generate", {"model": "llava:7b"})
    assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
    assert json.loads(answer.body)["error"] == f"Ollama Vision is not reachable at {url}: connection refused"
    assert answer.header("retry-after") == ["5"]
    assert [entry["model"] for entry in json.loads(get(adapter.port, "/api/tags").body)["models"]] == ["llama2:latest"]
    assert post(adapter.port, "/api/generate", {"model": "nosuch"}).body == '{"error":"model \'nosuch\' not found"}'
    assert post(adapter.port, "/api/generate", {"model": "llama2", "prompt": "x"}).status_line == "HTTP/1.1 200 OK"
