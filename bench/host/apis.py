"""Requests and answers of the two APIs: Ollama's lines and OpenAI's events. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

OLLAMA, OPENAI = "ollama", "openai"


class NoRightAnswer(Exception):
    """There was none. `kind` is the word under which it is counted, `detail` says more."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class BadAnswer(NoRightAnswer):
    """The answer is not what the API promises."""


@dataclass(frozen=True)
class Ask:
    """What a client asks for."""

    prompt: str
    answer_tokens: int  # at most
    stream: bool


def request_of(api: str, model: str, ask: Ask) -> tuple[str, bytes]:
    """Path and body. Temperature 0, so that all targets of one model say the same."""
    if api == OLLAMA:
        options = {"temperature": 0, "seed": 1, "num_predict": ask.answer_tokens}
        body: dict[str, Any] = {"model": model, "prompt": ask.prompt, "stream": ask.stream, "options": options}
        return "/api/generate", json.dumps(body).encode()
    body = {
        "model": model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": ask.answer_tokens,
        "temperature": 0,
        "seed": 1,
        "stream": ask.stream,
    }
    if ask.stream:
        body["stream_options"] = {"include_usage": True}
    return "/v1/chat/completions", json.dumps(body).encode()


@dataclass
class Reading:
    """An answer while it comes: feed it the pieces, then call `finish`."""

    api: str
    stream: bool
    content_ns: list[int] = field(default_factory=list)  # when pieces with text came; none where the answer is whole
    prompt_tokens: int | None = None  # by the server's own count, as the next two
    answer_tokens: int | None = None
    cached_tokens: int | None = None
    ended: str = ""  # why the server ended it: stop, length, …
    is_complete: bool = False
    error: str = ""  # of a line with an error in the middle of the stream
    _rest: bytes = b""
    _bad: BadAnswer | None = None

    def feed(self, piece: bytes, at_ns: int) -> None:
        """Take a piece of the body. It is called inside a parser, so what is wrong is said by `finish`."""
        self._rest += piece
        if not self.stream:
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._line(line.strip(), at_ns)

    def finish(self, status: int) -> None:
        """The answer is over.

        :raises BadAnswer: it is not a whole answer, or an error.
        """
        if status != 200:
            raise BadAnswer(f"http-{status}", short(self._rest))
        if not self.stream:
            self._take(decoded(self._rest), 0)
        elif self._rest.strip():
            self._line(self._rest.strip(), 0)
        if self._bad is not None:
            raise self._bad
        if self.error:
            raise BadAnswer("error-line", self.error)
        if not self.is_complete:
            raise BadAnswer("broken-stream", "the answer ended without its last line")

    def _line(self, line: bytes, at_ns: int) -> None:
        if self.api == OPENAI:
            if not line.startswith(b"data:"):
                return
            line = line[5:].strip()
            if line == b"[DONE]":
                self.is_complete = True
                return
        if line:
            try:
                self._take(decoded(line), at_ns)
            except BadAnswer as error:
                self._bad = self._bad or error

    def _take(self, said: dict[str, Any], at_ns: int) -> None:
        if "error" in said:
            self.error = self.error or short(json.dumps(said["error"], ensure_ascii=False).encode())
            return
        text = self._of_ollama(said) if self.api == OLLAMA else self._of_openai(said)
        if text and at_ns:
            self.content_ns.append(at_ns)

    def _of_ollama(self, said: dict[str, Any]) -> bool:
        if said.get("done"):
            self.is_complete = True
            self.ended = str(said.get("done_reason", ""))
            self.prompt_tokens, self.answer_tokens = whole(said.get("prompt_eval_count")), whole(said.get("eval_count"))
        return bool(said.get("response") or said.get("thinking"))

    def _of_openai(self, said: dict[str, Any]) -> bool:
        usage = said.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = whole(usage.get("prompt_tokens"))
            self.answer_tokens = whole(usage.get("completion_tokens"))
            details = usage.get("prompt_tokens_details")
            self.cached_tokens = whole(details.get("cached_tokens")) if isinstance(details, dict) else None
        choices = said.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return False
        choice = choices[0]
        self.ended = choice.get("finish_reason") or self.ended
        if not self.stream:
            self.is_complete = isinstance(choice.get("message"), dict)
        delta = choice.get("delta")
        return isinstance(delta, dict) and bool(delta.get("content") or delta.get("reasoning"))


def whole(value: Any) -> int | None:
    """A count, None of anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def decoded(text: bytes) -> dict[str, Any]:
    """A JSON object.

    :raises BadAnswer: it is none.
    """
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise BadAnswer("bad-answer", f"no JSON object: {short(text)}")
    return said


def short(text: bytes) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.decode("utf-8", "replace").split())[:200]
