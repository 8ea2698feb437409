"""What fuzzing starts from: the recordings of real servers, known attacks, and words that parsers care about."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings"
_MAX_SEED_BYTES = 6000

_HOST = b"Host: 127.0.0.1\r\n"
_CHAT = b'{"model":"llama2","messages":[{"role":"user","content":"Hi"}]}'


def _post(path: bytes, headers: bytes, body: bytes) -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + _HOST + headers + b"\r\n" + body


_LENGTH = b"Content-Length: %d\r\n" % len(_CHAT)
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_CHAT), _CHAT)
_NEXT = b"GET /api/version HTTP/1.1\r\n" + _HOST + b"\r\n"

ATTACKS: tuple[bytes, ...] = (
    # smuggling: both framings, in both orders; one framing twice; one that another reader might not see
    _post(b"/api/chat", _LENGTH + _CHUNKED, _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", _CHUNKED + b"Content-Length: 4\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"123456" + _NEXT),
    _post(b"/api/chat", b"Content-Length: 5, 5\r\n", b"12345" + _NEXT),
    _post(b"/api/chat", b"Content-Length : 5\r\n", b"12345" + _NEXT),
    _post(b"/api/chat", b"Content-Length: +5\r\n", b"12345" + _NEXT),
    _post(b"/api/chat", b"Content-Length: 1_0\r\n", b"1234567890" + _NEXT),
    _post(b"/api/chat", b"Content-Length: 0x10\r\n", b"1234567890123456" + _NEXT),
    _post(b"/api/chat", b"Content-Length: 18446744073709551621\r\n", b"12345" + _NEXT),
    _post(b"/api/chat", b"Content_Length: 5\r\n", b"12345" + _NEXT),
    _post(b"/api/chat", b"Transfer-Encoding: xchunked\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"Transfer-Encoding : chunked\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"Transfer-Encoding: chunked, identity\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"Transfer-Encoding:\x0bchunked\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"Transfer-Encoding:\r\n chunked\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"X: y\rTransfer-Encoding: chunked\r\n", _IN_CHUNKS + _NEXT),
    _post(b"/api/chat", b"X: y\nTransfer-Encoding: chunked\r\n", _IN_CHUNKS + _NEXT),
    # chunks
    _post(b"/api/chat", _CHUNKED, b"-1\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"0x5\r\n12345\r\n0\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"1_0\r\n1234567890123456\r\n0\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"ffffffffffffffff\r\n12345\r\n0\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"5;a=b\r\n12345\r\n0;c\r\nTrailer: x\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"5;a=\n12345\r\n0\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"5\r\n12345X0\r\n\r\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"5\n12345\n0\n\n" + _NEXT),
    _post(b"/api/chat", _CHUNKED, b"0\r\nContent-Length: 5\r\n\r\n" + _NEXT),
    # heads
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n",
    b"GET /a%0d%0aSet-Cookie:%20x=y//b HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /api/tags/%0d%0aX:y/ HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /api/tags?a=\r\nX: y HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET http://evil/api/tags HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET\t/\tHTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" + _NEXT,
    b"GET / HTTP/1.0\r\n\r\n" + _NEXT,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"Origin: http://localhost\r\n\r\n",
    b"OPTIONS /api/chat HTTP/1.1\r\n" + _HOST + b"Origin: http://localhost:3000\r\n\r\n" + _NEXT,
    b"HEAD /api/tags HTTP/1.1\r\n" + _HOST + b"\r\n" + _NEXT,
    b"GET /api/tags HTTP/1.1\r\n" + _HOST + b"X-Request-Id: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + _NEXT,
    _post(b"/api/chat", _LENGTH + b"Expect: 100-continue\r\n", _CHAT) + _NEXT,
    _post(b"/api/chat", _CHUNKED + b"Expect: 100-continue\r\n", _IN_CHUNKS) + _NEXT,
    _post(b"/api/chat", b"Content-Length: 99999999\r\n", _CHAT),
    _post(b"/api/chat", b"Content-Length: 9000\r\n", b"{" * 9000) + _NEXT,
    _post(b"/api/chat", _LENGTH, _CHAT) + _NEXT + _post(b"/api/chat", _CHUNKED, _IN_CHUNKS),
    _post(b"/api/chat", _LENGTH, _CHAT.replace(b"llama2", b"llava:")) + _NEXT,
    _post(b"/api/tags", b"Content-Length: 3\r\n", b"abc") + _NEXT,
    b"\r\n\r\n" + _NEXT * 3,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 140 + b"\r\n",
    b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
)  # fmt: skip

_SSE = (
    b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"abort"}]}\n\ndata: [DONE]\n\n',
    b': keep-alive\n\nevent: x\nid: 1\ndata: {"choices":[]\ndata: }\r\n\r\ndata:[DONE]\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"b"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null,"stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":[1]}]}\n\n'
    b'data: {"choices":[{"index":0,"text":"b","logprobs":null,"finish_reason":"stop","stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":[2]}]}\n\ndata: [DONE]\n\n',
)
_ANSWERS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n" + _SSE[0],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffff\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcdeX",
    b"HTTP/1.1 503 X\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
    b"220 smtp.example ESMTP\r\n",
)
_JSON = (
    b'{"model":"llama2","prompt":"x","options":{"temperature":1e999,"top_k":1e300,"seed":99999999999999999999}}',
    b'{"model":"llama2","prompt":"x","format":{"minimum":123456789012345678901234567890}}',
    b'{"model":"llama2","keep_alive":' + b"9" * 400 + b"}",
    b'{"model":"llama2","options":{"num_ctx":' + b"9" * 400 + b"}}",
    b'{"model":' + b"9" * 5000 + b"}",
    b'{"model":"llama2","keep_alive":"1h-3m","options":{"stop":["","a"],"num_predict":-2}}',
    b'{"model":"\\ud800","MODEL":"b","messages":null,"format":"","think":"high"}',
    b'{"model":"llama2","messages":[{"role":"ASSISTANT","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}',
    b"[" * 2000 + b"]" * 2000,
    b'{"format":' + b'{"a":' * 300 + b"1" + b"}" * 301,
    b'{"a":1}{"b":2}',
    b"\xef\xbb\xbf{}",
    b'{"a":"\xff\xfe\xc3"}',
    b"1h2m3.5s",
    b"hf.co/org/model:q4_K_M",
)

WORDS: tuple[bytes, ...] = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b": ", b"\x00", b"\x7f", b"\xff", b"\xe2\x80\xa8", b"\xed\xa0\x80",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Host: x\r\n", b"HTTP/1.1", b"HTTP/1.0",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Origin: http://localhost\r\n", b"chunked", b", ", b";",
    b"GET ", b"HEAD ", b"POST ", b"DELETE ", b"OPTIONS ", b"/", b"//", b"/./", b"%0d%0a", b"%00", b"?", b"#", b"*",
    b"/api/chat", b"/api/generate", b"/api/tags", b"/api/show", b"/api/embed", b"/api/pull", b"/api/create", b"/api/delete",
    b"/v1/chat/completions", b"/v1/responses", b"/v1/messages", b"/metrics", b"/ready", b"/api/ps",
    b"0\r\n\r\n", b"5\r\n12345\r\n", b"ffffffff", b"-1", b"+1", b"0x", b"1_0", b"1e999", b"-0", b"9" * 40,
    b"data: ", b"data:", b"\n\n", b"[DONE]", b"data: [DONE]\n\n", b"event: x\n", b"\\", b"\\u", b"\\ud800", b"\\u0000", b'"',
    b"{", b"}", b"[", b"]", b",", b"null", b"true", b"false", b'{"', b'":', b'"choices":[', b'"delta":{"content":"', b'"text":"',
    b'"finish_reason":"stop"', b'"finish_reason":"length"', b'"finish_reason":"abort"', b'"tool_calls":[', b'"logprobs":',
    b'"usage":', b'"error":', b'"token_ids":[1]', b'"reasoning":"', b'"index":0', b'"stream":false', b'"options":{',
    b'"format":', b'"model":"llama2"', b'"model":"llava:7b"', b'"messages":[', b'"prompt":"', b'"context":[1]', b'"think":',
)  # fmt: skip


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Inputs to start from, the bytes that choose the delivery included."""
    if target == "front":
        return tuple(b"\x00\x00" + seed for seed in (*ATTACKS, *_recorded_requests()))
    if target == "json":
        bodies = [seed.partition(b"\r\n\r\n")[2] for seed in _recorded_requests()]
        return (*_JSON, *filter(None, dict.fromkeys(bodies)))
    recorded = [row["response"] for row in _rows("vllm-0.32.0-cpu.jsonl") if row["response"].get("head")]
    if target == "events":
        streams = [row["body"].encode() for row in recorded if any("event-stream" in line for line in row["head"])]
        found: list[bytes] = [*_SSE, *(stream[:_MAX_SEED_BYTES] for stream in streams)]
        return tuple(bytes([number % 7, 0, 0]) + seed for number, seed in enumerate(found))
    answers = [*_ANSWERS, *map(_recorded_answer, recorded)]
    return tuple(bytes([number % 19, 0, 0]) + seed[:_MAX_SEED_BYTES] for number, seed in enumerate(answers))


def _recorded_requests() -> list[bytes]:
    found = []
    for row in _rows("ollama-0.32.15.jsonl"):
        request = row["request"]
        body = request["body"]
        data = bytes.fromhex(body["hex"]) if isinstance(body, dict) else str(body).encode()
        headers = "".join(f"{name}: {value}\r\n" for name, value in request["headers"])
        raw = f"{request['line']}\r\n{headers}\r\n".encode("latin-1", "replace") + data
        if len(raw) <= _MAX_SEED_BYTES:
            found.append(raw)
    return found


def _recorded_answer(answer: dict[str, Any]) -> bytes:
    body = str(answer["body"]).encode()
    lines = [line for line in answer["head"] if not line.lower().startswith(("content-length", "transfer-encoding"))]
    if any("transfer-encoding" in line.lower() for line in answer["head"]):
        lines.append("transfer-encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_RECORDINGS / name).read_text(encoding="utf-8").splitlines()]
