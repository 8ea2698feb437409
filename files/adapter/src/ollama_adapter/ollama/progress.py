"""The steps of a request that takes its time, as Ollama tells them: pull, push and create (ollama-api 1.3)."""

from __future__ import annotations

from ..go.json import quote
from ..http.answer import NDJSON
from ..http.exchange import Exchange

# Without a character set, unlike the other answers (recorded, Ollama 0.32.15).
_JSON = b"application/json"


class Progress:
    """Answers with a line for each step, or, where the client wants no stream, with the last one alone."""

    def __init__(self, exchange: Exchange, *, stream: bool) -> None:
        self._exchange = exchange
        self._stream = stream

    def step(self, status: str) -> None:
        """A step was reached."""
        if self._stream:
            if not self._exchange.is_started:
                self._exchange.start(200, NDJSON)
            self._exchange.send(_line(status))

    def succeed(self) -> None:
        """The last step."""
        if self._stream:
            self.step("success")
            self._exchange.finish()
        else:
            self._exchange.respond(200, _line("success")[:-1], _JSON)

    def fail(self, status: int, message: str) -> None:
        """It ends here.

        :param status: of the answer, unless a step has been told.
        """
        exchange = self._exchange
        exchange.error = message
        body = b'{"error":%b}' % quote(message)
        if not self._stream:
            exchange.respond(status, body, _JSON)
        elif exchange.is_started:
            exchange.finish(body + b"\n")
        else:
            exchange.start(status, _JSON)
            exchange.finish(body)


def _line(status: str) -> bytes:
    return b'{"status":%b}\n' % quote(status)
