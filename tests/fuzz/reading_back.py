"""Second opinion on what a client got: h11 reads the answers, json reads the bodies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.fuzz.findings import Finding


@dataclass
class Answer:
    """One answer. `is_complete` is False where the bytes ended before it did."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    is_complete: bool = False
    chunks: list[bytes] = field(default_factory=list)

    @property
    def content_type(self) -> str:
        """Without parameters."""
        return self.headers.get("content-type", "").partition(";")[0]


def read_answers(data: bytes, methods: Sequence[str]) -> list[Answer]:
    """Read all answers on a connection that has ended.

    :param methods: of the requests, in order; what was answered beyond them was not understood as a request.
    :raises Finding: h11 does not take the bytes for HTTP, or something follows an answer that ends the connection.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    connection.receive_data(b"")
    answers: list[Answer] = []
    try:
        while len(answers) < 10_000:
            method = methods[len(answers)] if len(answers) < len(methods) else "GET"
            connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
            connection.send(h11.EndOfMessage())
            answer = _one(connection)
            if answer is None:
                return answers
            answers.append(answer)
            if not answer.is_complete:
                return answers
            if connection.their_state is not h11.DONE or connection.our_state is not h11.DONE:
                rest = connection.trailing_data[0]
                # A refusal in the middle of a request to HEAD has a body all the same; its end is the connection's.
                if rest and not (method == "HEAD" and rest.startswith(b"%d " % answer.status)):
                    raise Finding(f"bytes after the last answer: {rest[:200]!r} in {data[:2000]!r}")
                return answers
            if not connection.trailing_data[0]:
                return answers
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        raise Finding(f"an answer is not HTTP: {error}: {data[:2000]!r}") from None
    raise Finding("an endless row of answers")


def _one(connection: h11.Connection) -> Answer | None:
    answer: Answer | None = None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if "closed" in str(error).lower() and not connection.trailing_data[0]:
                return answer  # the bytes end inside an answer, or before one
            raise
        if isinstance(event, h11.Response):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            answer = Answer(event.status_code, headers)
        elif isinstance(event, h11.Data):
            assert answer is not None
            answer.body += bytes(event.data)
            answer.chunks.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert answer is not None
            answer.is_complete = True
            return answer
        elif isinstance(event, h11.ConnectionClosed) or event in (h11.NEED_DATA, h11.PAUSED):
            return answer


def requests_in(data: bytes) -> tuple[list[tuple[str, str]], bool]:
    """Method and target of each request that a client's bytes hold, as h11 reads them.

    :return: also, whether h11 took offence before the end.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    found: list[tuple[str, str]] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                found.append((event.method.decode(), event.target.decode()))
            elif isinstance(event, h11.EndOfMessage):
                connection.send(h11.Response(status_code=405, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return found, False
                connection.start_next_cycle()
            elif not isinstance(event, h11.Data):
                return found, False
    except h11.RemoteProtocolError:
        return found, True


def check_body(answer: Answer) -> None:
    """An answer of the adapter's own is what its Content-Type says.

    :raises Finding: it is not, or a stream of lines does not end as it must.
    """
    if not answer.body:
        return
    if answer.content_type == "application/x-ndjson":
        check_lines(answer)
    elif answer.content_type == "application/json" and answer.is_complete:
        parsed(answer.body)


def check_lines(answer: Answer) -> None:
    """One object per line, and the last one, and no other, is an end: `done`, a pull's success, or an error.

    :raises Finding: otherwise.
    """
    body = answer.body
    if not body.endswith(b"\n") and b'"error"' not in body[-2000:]:
        raise Finding(f"a stream ends in the middle of a line: {body[-300:]!r}")
    objects = [parsed(line) for line in body.removesuffix(b"\n").split(b"\n")]
    for line in objects:
        if not isinstance(line, dict):
            raise Finding(f"a line is no object: {line!r}")
    ends = [position for position, line in enumerate(objects) if _is_end(line)]
    if ends != [len(objects) - 1]:
        raise Finding(f"a stream has no end, or goes on after it: {body[-600:]!r}")


def _is_end(line: dict[str, Any]) -> bool:
    return line.get("done") is True or line.get("status") == "success" or "error" in line


def parsed(data: bytes) -> Any:
    """Decode JSON, strictly.

    :raises Finding: it is none.
    """
    try:
        return json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Finding(f"not JSON: {error}: {data[:600]!r}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
