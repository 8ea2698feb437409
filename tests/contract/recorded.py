"""The recorded exchanges with a real Ollama, as requests to send and answers to expect."""

from __future__ import annotations

import base64
import json
import re
from array import array
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Answer:
    """An answer as it came over the wire, with the framing of the body taken off."""

    status_line: str
    headers: tuple[tuple[str, str], ...]
    chunks: int | None
    body: str

    def header(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True)
class Recorded:
    """One recorded exchange."""

    name: str
    request: bytes
    method: str
    model: str
    answer: Answer


@cache
def ollama() -> tuple[Recorded, ...]:
    """All exchanges with Ollama, in the order in which they were made."""
    lines = (RECORDINGS / "ollama-0.32.15.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(_recorded(json.loads(line)) for line in lines)


def _recorded(row: dict[str, Any]) -> Recorded:
    request, response = row["request"], row["response"]
    body = _bytes(request["body"])
    sizes = response["chunk_sizes"]
    answer = Answer(
        response["status_line"],
        tuple((name, value) for name, value in response["headers"]),
        None if sizes is None else len(sizes),
        _bytes(response["body"]).decode("utf-8", "backslashreplace"),
    )
    head = request["line"] + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in request["headers"]) + "\r\n"
    raw = request["line"].encode() if "\n" in request["line"] else head.encode("latin-1") + body
    return Recorded(row["name"], raw, request["line"].split(" ")[0], _model(body), answer)


def _bytes(body: Any) -> bytes:
    return bytes.fromhex(body["hex"]) if isinstance(body, dict) else str(body).encode()


def _model(body: bytes) -> str:
    match = re.search(rb'"(?:model|name|source)"\s*:\s*"([^"]*)"(?!.*"model")', body, re.IGNORECASE | re.DOTALL)
    return match.group(1).decode() if match else ""


_CHANGES = (
    (re.compile(r'"(created_at|modified_at|expires_at)":"[^"]+"'), r'"\1":"<time>"'),
    (re.compile(r'"(total|load|prompt_eval|eval)_duration":[1-9][0-9]*'), r'"\1_duration":"<ns>"'),
    (re.compile(r'"id":"call_[a-z0-9]{8}"'), '"id":"<call>"'),
    # the same on /v1/*
    (re.compile(r'"(chatcmpl|cmpl)-[0-9]{1,3}"'), r'"<\1>"'),
    (re.compile(r'"(msg|req)_[0-9a-f]{24}"'), r'"<\1>"'),
    (
        re.compile(r'"(call_id|id|item_id)":"(call_[a-z0-9]{8}|(resp|msg|rs_resp|fc_resp|rs|fc)_[0-9_]+)"'),
        r'"\1":"<id>"',
    ),
    (re.compile(r'"(created|created_at|completed_at)":[1-9][0-9]{9}\b'), r'"\1":"<time>"'),
    (re.compile(r"^Date: .*$", re.MULTILINE), "Date: <date>"),
    (re.compile(r"^Content-Length: .*$", re.MULTILINE), "Content-Length: <n>"),
    (re.compile(r"^X-Request-Id: .*\r?\n", re.MULTILINE), ""),
)
_LOGPROB = re.compile(r'"logprob":(-?[0-9.e+-]+)')
_VECTOR_BASE64 = re.compile(r'"embedding":"([A-Za-z0-9+/=]+)"')


def _numbers(encoded: str) -> str:
    vector = array("f")
    vector.frombytes(base64.b64decode(encoded))
    return ",".join(f"{value:.9f}" for value in vector)


def comparable(body: str) -> str:
    """A body without what differs from one moment to the next: times, durations, call ids.

    A duration of zero stays, so that it does not pass for one. Log probabilities are rounded: a CPU and a GPU, or two
    engines on one CPU, differ in the fifth digit (measured, vLLM against Ollama in float32).
    """
    for pattern, replacement in _CHANGES:
        body = pattern.sub(replacement, body)
    body = _VECTOR_BASE64.sub(lambda match: f'"embedding":"<base64 of {_numbers(match.group(1))}>"', body)
    return _LOGPROB.sub(lambda match: f'"logprob":{round(float(match.group(1)), 3) + 0:g}', body)


_VECTOR_NUMBER = re.compile(r"-?[0-9](?:\.[0-9]+e-[0-9]+|\.[0-9]{2,}|e-[0-9]+)")


def same(expected: str, actual: str) -> bool:
    """Whether two comparable bodies are equal; the numbers of vectors only need to be close: two engines that add the same
    float32 in another order differ by up to 5e-8 for a few words and 8e-7 for 2,047 tokens (measured)."""
    if '"embedding' not in expected or expected == actual:
        return expected == actual
    if _VECTOR_NUMBER.split(expected) != _VECTOR_NUMBER.split(actual):
        return False
    pairs = zip(_VECTOR_NUMBER.findall(expected), _VECTOR_NUMBER.findall(actual), strict=True)
    return all(abs(float(one) - float(other)) < 2e-6 for one, other in pairs)


def differences(expected: Answer, actual: Answer, *, chunks: bool) -> list[str]:
    """What is not as recorded, one line each; empty where nothing is."""
    found = []
    if expected.status_line != actual.status_line:
        found.append(f"status {actual.status_line!r}, recorded {expected.status_line!r}")
    for name in ("content-type", "allow", "location", "connection", "vary", "transfer-encoding"):
        if sorted(expected.header(name)) != sorted(actual.header(name)):
            found.append(f"{name} {actual.header(name)}, recorded {expected.header(name)}")
    cross_origin = [
        {h for h in answer.headers if h[0].lower().startswith("access-control")} for answer in (expected, actual)
    ]
    if cross_origin[0] != cross_origin[1]:
        found.append(f"CORS {sorted(cross_origin[1])}, recorded {sorted(cross_origin[0])}")
    if bool(expected.header("content-length")) != bool(actual.header("content-length")):
        found.append(f"content-length {actual.header('content-length')}, recorded {expected.header('content-length')}")
    if chunks and expected.chunks != actual.chunks:
        found.append(f"{actual.chunks} chunks, recorded {expected.chunks}")
    if not same(comparable(expected.body), comparable(actual.body)):
        found.append(f"body {comparable(actual.body)[:400]!r}, recorded {comparable(expected.body)[:400]!r}")
    return found


def joined(answer: Answer) -> Answer:
    """An answer without its division into chunks, which with a real engine depends on its load."""
    media_type = answer.header("content-type")
    if "application/x-ndjson" in media_type and '"done"' in answer.body:  # text, and not the steps of a pull
        return replace(answer, body=joined_stream(answer.body))
    if "text/event-stream" in media_type:
        return replace(answer, body=joined_events(answer.body))
    return answer


def joined_events(body: str) -> str:
    """A stream of OpenAI's chunks as one, and whatever is not a chunk behind it: see `joined_stream`."""
    payloads = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    chunks = [json.loads(payload) for payload in payloads if payload.startswith("{")]
    if any("choices" not in chunk for chunk in chunks):
        return body
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice.get("delta", choice) for choice in choices]
    merged: dict[str, Any] = {key: value for delta in deltas for key, value in delta.items()}
    for field in {"content", "reasoning", "text"} & merged.keys():
        merged[field] = "".join(delta.get(field) or "" for delta in deltas)
    rest = [payload for payload in payloads if not payload.startswith("{")]
    usage = [chunk.get("usage") for chunk in chunks]
    joined = {**chunks[-1], "choices": [choices[-1], merged], "usage": usage[-1], "rest": rest}
    return json.dumps(joined, separators=(",", ":"), ensure_ascii=False)


def joined_stream(body: str) -> str:
    """A stream of lines as one object: texts joined, the last line otherwise kept. How an engine groups tokens into
    chunks depends on its load, so with a real engine only this can be compared."""
    lines = [json.loads(line) for line in body.splitlines()]
    last = lines[-1]
    for field in ("response", "thinking"):
        if any(field in line for line in lines):
            last[field] = "".join(line.get(field, "") for line in lines)
    if "message" in last:
        message = last["message"]
        message["content"] = "".join(line["message"]["content"] for line in lines)
        message["thinking"] = "".join(line["message"].get("thinking", "") for line in lines)
        message["tool_calls"] = [call for line in lines for call in line["message"].get("tool_calls", ())]
    last["logprobs"] = [entry for line in lines for entry in line.get("logprobs", ())]
    return json.dumps(last, separators=(",", ":"), ensure_ascii=False)
