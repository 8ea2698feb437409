"""What is left of a prompt that does not fit into the context: pure functions, as Ollama 0.32.15 cuts (ollama-api 4.2).

A prompt of `/api/generate` loses tokens between its beginning and its end (recorded: gen_long_prompt). A conversation
loses its oldest messages, but neither system messages nor the last one (recorded: chat_truncate_long).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

SMALLEST_CONTEXT = 4
_DEFAULT_KEEP = 4
_IMAGE_TOKENS = 768  # what Ollama counts for a picture (ollama-api 4.2)

Message = TypeVar("Message")


def window(num_ctx: int | None, max_model_len: int) -> int:
    """How many tokens prompt and answer may have together: what the request asks for, at most what the model has."""
    if num_ctx is None or num_ctx <= 0:
        return max_model_len
    return min(max(num_ctx, SMALLEST_CONTEXT), max_model_len)


def shortened(tokens: Sequence[int], limit: int, num_keep: int | None, *, has_front: bool) -> list[int]:
    """The tokens of a prompt without those in the middle: its beginning, and half of the room that is left for its end.

    :param limit: size of the context; the result is smaller, by the room for an answer.
    :param num_keep: tokens of the beginning that stay, negative for all; 4 if not given.
    :param has_front: the tokenizer put a token in front, which stays too.
    """
    keep = _DEFAULT_KEEP if num_keep is None else num_keep
    keep = min((len(tokens) if keep < 0 else keep) + has_front, limit - 1)
    room = limit - keep
    end = room - max(room // 2, 1)
    return [*tokens[:keep], *tokens[max(len(tokens) - end, keep) :]]


def from_message(messages: Sequence[Message], start: int, role_of: Callable[[Message], str]) -> list[Message]:
    """A conversation from a message on; system messages before it stay."""
    return [one for one in messages[:start] if role_of(one) == "system"] + list(messages[start:])


def block_start(messages: Sequence[Mapping[str, Any]], start: int) -> int:
    """Where a conversation that shall begin at `start` begins: results of tools stay with the message that called."""
    position = start
    while position > 0 and messages[position]["role"] == "tool":
        position -= 1
    return position if messages[position].get("tool_calls") else start


class MessageSearch:
    """Finds the first message from which on a conversation fits, by halving; the last message always stays.

    Ask whether the conversation fits from `start` on and tell `narrow`, until `is_over`: then `start` is the answer.
    """

    def __init__(self, count: int) -> None:
        """:param count: of the messages, at least 2. The whole conversation is known not to fit."""
        self._low, self._high = 1, count - 1

    @property
    def is_over(self) -> bool:
        """Whether `start` is the answer."""
        return self._low >= self._high

    @property
    def start(self) -> int:
        """The message to try."""
        return (self._low + self._high) // 2

    def narrow(self, fits: bool) -> None:
        """Take in whether it fits from `start` on."""
        if fits:
            self._high = self.start
        else:
            self._low = self.start + 1


def text_size(messages: Sequence[Mapping[str, Any]]) -> int:
    """The bytes of the texts of messages, and the tokens of their pictures: no tokenizer makes more tokens of them."""
    size = 0
    for message in messages:
        size += len(message.get("content", "").encode()) + len(message.get("thinking", "").encode())
        size += _IMAGE_TOKENS * len(message.get("images", ()))
        if message.get("tool_calls"):
            size += len(msgspec.json.encode(message["tool_calls"]))
    return size


def picture_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The tokens that Ollama counts for the pictures of messages."""
    return _IMAGE_TOKENS * sum(len(message.get("images", ())) for message in messages)


def too_long(tokens: int, limit: int) -> str:
    """The message of the 400 for a prompt that must not be cut, or cannot be (recorded: gen_truncate_false)."""
    error = {
        "code": 400,
        "message": f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": limit,
    }
    return json.dumps({"error": error}, separators=(",", ":"))
