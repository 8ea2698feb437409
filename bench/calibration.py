"""One decoded look at every kind of answer, before anything is measured: only right answers are worth timing."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Literal

from bench import frames
from bench.client import MARK, Expected
from bench.plan import Plan

Api = Literal["ollama", "openai"]


class WrongAnswer(Exception):
    """A target that answers something else than the upstream said."""


def request_body(api: Api, plan: Plan, *, stream: bool) -> bytes:
    """The body of a chat request: what a client of this API sends."""
    body: dict[str, Any] = {
        "model": "llama3.2" if api == "ollama" else frames.SERVED_MODEL,
        "messages": [{"role": "user", "content": plan.prompt}],
        "stream": stream,
    }
    if api == "openai" and stream:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Endpoint:
    """Where an API is spoken."""

    api: Api
    port: int
    key: str = ""  # sent as a bearer token where the target wants one

    @property
    def path(self) -> str:
        """The route of a chat."""
        return "/api/chat" if self.api == "ollama" else "/v1/chat/completions"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request, without those that HTTP itself needs."""
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", **authorization}

    def request(self, plan: Plan, *, stream: bool) -> bytes:
        """A whole request."""
        body = request_body(self.api, plan, stream=stream)
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        framing = [f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(body)}"]
        return "\r\n".join([f"POST {self.path} HTTP/1.1", *framing, *lines, "", ""]).encode() + body


def text_of(api: Api, body: bytes, *, stream: bool) -> str:
    """The text of an answer.

    :raises ValueError, KeyError: it is not one.
    """
    if api == "ollama":
        lines = body.splitlines() if stream else [body]
        return "".join(json.loads(line)["message"]["content"] for line in lines)
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    payloads = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
    choices = [choice for payload in payloads for choice in json.loads(payload)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def calibrate(endpoint: Endpoint, plan: Plan, *, stream: bool, timeout_s: float = 30.0) -> Expected:
    """Ask once, compare the text with what the upstream said, and learn what to count.

    :raises WrongAnswer: the text is not the upstream's.
    :raises OSError: nobody answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=timeout_s)
    try:
        connection.request("POST", endpoint.path, request_body(endpoint.api, plan, stream=stream), endpoint.headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise WrongAnswer(f"no answer in HTTP: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise WrongAnswer(f"status {response.status}: {body[-500:]!r}")
    return expected_of(endpoint.api, body, plan, stream=stream)


def expected_of(api: Api, body: bytes, plan: Plan, *, stream: bool) -> Expected:
    """What to count in answers to this plan, from one whose text is right.

    :raises WrongAnswer: the text is not the upstream's.
    """
    try:
        found = text_of(api, body, stream=stream)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WrongAnswer(f"{error!r} in {body[-500:]!r}") from error
    if found != frames.text(plan.tokens):
        raise WrongAnswer(f"the text is {found[:200]!r}")
    plain = body.count(MARK)
    expected = Expected(plain or body.count(b'"content": "'), is_spaced=not plain)
    if expected.marks < (plan.tokens if stream else 1):
        raise WrongAnswer(f"{plan.tokens} tokens came in {expected.marks} pieces")
    return expected
