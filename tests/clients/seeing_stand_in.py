"""A stand-in for Ollama Vision that looks whether a picture came with the question, on each route that takes one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.contract.ollama_stand_in import OllamaStandIn
from tests.contract.stand_in_server import Received, head

# The beginning of every PNG in base64; each of the APIs wraps it in its own way.
_PNG = b"iVBORw0KGgo"
_MADE = {"model": "llava:7b", "created_at": "2026-11-26T12:00:00Z", "done": True, "done_reason": "stop"}


class SeeingStandIn(OllamaStandIn):
    """Says "a cat" where it is shown a picture, and "nothing" where it is not; always in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.shows = True

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        text = "a cat" if _PNG in request.body else "nothing"
        message = {"role": "assistant", "content": text}
        answers: dict[str, dict[str, Any]] = {
            "/api/generate": {**_MADE, "response": text, "context": [1]},
            "/api/chat": {**_MADE, "message": message},
            "/v1/chat/completions": {
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "llava:7b",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            },
            "/v1/messages": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "llava:7b", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        }  # fmt: skip
        if request.path not in answers:
            return await super().respond(request, writer, is_first)
        body = json.dumps(answers[request.path]).encode() + b"\n"
        kind = "application/json" if request.path.startswith("/v1/") else "application/x-ndjson"
        writer.write(head(200, kind, f"content-length: {len(body)}") + body)
        await writer.drain()
        return True
