"""A vLLM that has begun to shut down. While it drains it still takes requests, and answers each with an error, up to a
second late (measured). So clients are told without asking it, until it has gone or serves again."""

from __future__ import annotations

import msgspec

from ..upstream.fetching import Fetched, fetch
from ..upstream.pool import Pool
from .frames import error_text

GOING_DOWN = ("EngineCore encountered an issue", "cannot schedule new futures after shutdown")
_ASKED_WITHIN_S = 5.0
_encoder = msgspec.json.Encoder()


def is_going_down(status: int, message: str) -> bool:
    """Whether an error of vLLM says that it will answer nothing any more."""
    return status == 500 and any(text in message for text in GOING_DOWN)


def told(message: str) -> str:
    """What clients are told then."""
    return f"vLLM is going down and will be started again: {message}"


class Leaving:
    """What is known of the end of a model's only vLLM. Where there are several, all are asked: another may answer."""

    def __init__(self, upstream: Pool, served_model: str) -> None:
        self.message = ""  # of the vLLM that goes down; "": ask it
        self._upstream = upstream
        # `/health` says 200 to the end (measured), so only this shows whether it serves.
        self._probe = _encoder.encode({"model": served_model, "prompt": "a", "max_tokens": 1})
        self._is_asking = False

    def noted(self, message: str) -> None:
        """It has said that it goes down."""
        if len(self._upstream.upstreams) == 1:
            self.message = message

    def sweep(self) -> None:
        """Called once a second: of a vLLM that goes down it is asked whether it still does."""
        if self.message and not self._is_asking:
            self._is_asking = True
            target = b"/v1/completions"
            fetch(self._upstream, b"POST", target, self._answered, _ASKED_WITHIN_S, body=self._probe)

    def _answered(self, answer: Fetched) -> None:
        self._is_asking = False
        says_nothing = not answer.status and not answer.is_unreachable  # it is busy with its end, or was cut off by it
        if not says_nothing and not is_going_down(answer.status, error_text(answer.body) or ""):
            self.message = ""
