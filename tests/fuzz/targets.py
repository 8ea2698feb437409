"""The fuzz targets: each takes any bytes, and raises where the adapter breaks a promise.

An input's first bytes choose how the rest is delivered, so that a file alone reproduces a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.fuzz.cutting import pieces_of
from tests.fuzz.findings import Finding
from tests.fuzz.json_target import check_json
from tests.fuzz.machine import MAX_BODY_BYTES, OWN_MODEL, VISION_MODEL, Machine
from tests.fuzz.reading_back import Answer, requests_in
from tests.fuzz.transports import Reply, Request

Target = Callable[[bytes], None]


@cache
def machine() -> Machine:
    """The adapter of this process."""
    return Machine()


def _run(pieces: Sequence[bytes], answer: Callable[[Request], Reply], **ways: bool) -> list[Answer]:
    try:
        return machine().run(pieces, answer, **ways)
    except BaseException:
        close_machine()  # what went wrong once must not show again in the next run
        raise


def close_machine() -> None:
    """End the adapter of this process; the next run makes a new one."""
    if machine.cache_info().currsize:
        machine().close()
    machine.cache_clear()


# (a) The front: any bytes from a client, healthy upstreams


def check_front(data: bytes) -> None:
    """Bytes 0 and 1: how the rest is cut, whether the client ends its side, whether the adapter drains meanwhile."""
    if len(data) < 2:
        return
    mode, seed = data[0], data[1]
    _run(pieces_of(data[2:], mode, seed), healthy, ends=bool(mode & 0x80), drains=mode & 0x70 == 0x70)
    _check_no_request_was_smuggled(data[2:], machine().requests)


def _check_no_request_was_smuggled(data: bytes, ours: list[dict[str, Any]]) -> None:
    """The adapter saw the requests that h11 sees in the same bytes: fewer if it closed, never others, never more."""
    theirs, took_offence = requests_in(data)
    if len(ours) > len(theirs) and not took_offence:
        raise Finding(f"more requests than h11 sees: {ours} in {data!r}")
    for request, (method, target) in zip(ours, theirs, strict=False):
        path = unquote_to_bytes(target.partition("?")[0].partition("#")[0]).decode("utf-8", "replace")
        if request["method"] != method or (target.startswith("/") and request["path"] != path):
            raise Finding(f"another request than h11 sees: {request}, h11 {method} {target}")


def healthy(request: Request) -> Reply:
    """Upstreams as they should be."""
    path = request.target.partition("?")[0]
    if path == "/health":
        return Reply([_http(b"", "text/plain")])
    if path == "/v1/models":
        return Reply([_http(b'{"object":"list","data":[{"id":"llm","max_model_len":2048}]}')])
    if path == "/tokenize":
        return Reply([_http(b'{"count":2,"max_model_len":2048,"tokens":[1,2]}')])
    if path == "/api/tags":
        return Reply([_http(b'{"models":[{"name":"llava:7b","model":"llava:7b","modified_at":"","size":1}]}')])
    if path in ("/v1/chat/completions", "/v1/completions"):
        if b'"stream":true' in request.body:
            return Reply([_EVENT_STREAM, *(_chunk(piece) for piece in (*_FRAMES[path], b""))])
        return Reply([_http(_WHOLE[path])])
    return Reply([_http(b'{"error":"not here"}', status=404)])


def _http(body: bytes, kind: str = "application/json", status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = b'"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}'
_FRAMES = {
    "/v1/chat/completions": (
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"a \xe2\x82\xac"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],' + _USAGE + b"}\n\n",
        b"data: [DONE]\n\n",
    ),
    "/v1/completions": (
        b'data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"text":"b","finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],' + _USAGE + b"}\n\n",
        b"data: [DONE]\n\n",
    ),
}
_WHOLE = {
    "/v1/chat/completions": b'{"choices":[{"index":0,"message":{"role":"assistant","content":"ab"},'
    b'"finish_reason":"stop"}],' + _USAGE + b"}",
    "/v1/completions": b'{"choices":[{"index":0,"text":"ab","finish_reason":"stop"}],' + _USAGE + b"}",
}


# (c) and (d) The back: a sane client, any bytes from an upstream


def _post(path: str, **fields: object) -> bytes:
    body = json.dumps(fields).encode()
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


_MESSAGES = [{"role": "user", "content": "Hi"}]
QUESTIONS = (
    _post("/api/chat", model=OWN_MODEL, messages=_MESSAGES),
    _post("/api/generate", model=OWN_MODEL, prompt="Hi"),
    _post("/api/generate", model=OWN_MODEL, prompt="Hi", raw=True),
    _post("/api/chat", model=OWN_MODEL, messages=_MESSAGES, logprobs=True, top_logprobs=2),
    _post("/api/generate", model=OWN_MODEL, prompt="Hi", raw=True, logprobs=True, top_logprobs=2),
    _post("/api/chat", model=OWN_MODEL, messages=_MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}]),
    _post("/api/generate", model=OWN_MODEL, prompt="Hi", context=[1, 2]),
    _post("/api/chat", model=OWN_MODEL, messages=_MESSAGES, stream=False),
    _post("/api/generate", model=OWN_MODEL, prompt="Hi", stream=False),
    _post("/v1/chat/completions", model=OWN_MODEL, messages=_MESSAGES, stream=True),
    _post("/v1/chat/completions", model=OWN_MODEL, messages=_MESSAGES),
    _post("/v1/responses", model=OWN_MODEL, input="Hi", stream=True),
    _post("/v1/messages", model=OWN_MODEL, messages=_MESSAGES, max_tokens=8, stream=True),
    _post("/api/embed", model=OWN_MODEL, input=["Hi"]),
    _post("/api/chat", model=VISION_MODEL, messages=_MESSAGES),
    b"GET /api/tags HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    _post("/api/generate", model=OWN_MODEL),
)
_STREAMS = 7  # of them answer as a stream of lines, whatever happens


def check_events(data: bytes) -> None:
    """An event stream in sound HTTP. Bytes 0 to 2: the question, the cut, and its chance; bit 7 of byte 0: no end."""
    if len(data) < 3:
        return
    pieces = [_EVENT_STREAM, *map(_chunk, pieces_of(data[3:], data[1], data[2]))]
    if not data[0] & 0x80:
        pieces.append(b"0\r\n\r\n")
    _check_question(QUESTIONS[data[0] % _STREAMS], Reply(pieces, ends=bool(data[0] & 0x40)))


def check_upstream(data: bytes) -> None:
    """Any bytes at all from the upstream. Bytes 0 to 2 as in `check_events`."""
    if len(data) < 3:
        return
    pieces = pieces_of(data[3:], data[1], data[2])
    _check_question(QUESTIONS[(data[0] & 0x7F) % len(QUESTIONS)], Reply(pieces, ends=not data[0] & 0x80))


def _check_question(question: bytes, reply: Reply) -> None:
    def answer(request: Request) -> Reply:
        return healthy(request) if request.target == "/tokenize" else reply

    answers = _run([question], answer)
    check_told(question, answers)


def check_told(question: bytes, answers: list[Answer]) -> None:
    """Whoever asked the adapter's own model was told something whole: never a silent end.

    :raises Finding: there is no answer, or it was cut.
    """
    is_passed_on = VISION_MODEL.encode() in question or question.startswith(b"POST /v1/")
    if not answers:
        if not is_passed_on:
            raise Finding("no answer at all")
    elif not answers[0].is_complete and not is_passed_on:
        raise Finding(f"an answer was cut: {answers[0]}")


TARGETS: dict[str, Target] = {
    "front": check_front,
    "events": check_events,
    "upstream": check_upstream,
    "json": check_json,
}
assert max(map(len, QUESTIONS)) < MAX_BODY_BYTES
