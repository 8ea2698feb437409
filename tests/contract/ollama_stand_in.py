"""A stand-in for the Ollama server behind the adapter (Ollama Vision): lists models and answers what it is told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.contract.stand_in_server import Received, StandInServer, head

LLAVA = {
    "name": "llava:7b",
    "model": "llava:7b",
    "modified_at": "2027-01-01T10:11:12.123456789+02:00",
    "size": 4733363377,
    "digest": "8dd30f6b0cb19f555f2c7a7ebda861449ea2cc76bf1f44e262931f45fc81d081",
    "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama", "clip"]},
}
LINES = [
    b'{"model":"llava:7b","response":"a ","done":false}\n',
    '{"model":"llava:7b","response":"caf\u00e9","done":true}\n'.encode(),
]


class OllamaStandIn(StandInServer):
    """Knows `models`; answers every model request with `lines`, one chunk each."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[dict[str, Any]] = [LLAVA]
        self.lines: list[bytes] = LINES
        self.shows = False  # whether /api/show has an answer of its own
        self.delay_s = 0.0
        self.status = 200
        self.whole: bytes | None = None  # an answer with a Content-Length instead of chunks
        self.cut_after: int | None = None

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        if request.path in ("/api/tags", "/api/ps"):
            body = json.dumps({"models": self.models}).encode()
            writer.write(head(200, "application/json; charset=utf-8", f"content-length: {len(body)}") + body)
        elif request.path == "/api/show" and self.shows:
            body = json.dumps({**LLAVA, "model_info": {}, "capabilities": ["completion", "vision"]}).encode()
            writer.write(head(200, "application/json; charset=utf-8", f"content-length: {len(body)}") + body)
        elif self.whole is not None:
            framing = f"X-Kept: yes\r\ncontent-length: {len(self.whole)}"
            writer.write(head(self.status, "application/json; charset=utf-8", framing) + self.whole)
        else:
            writer.write(head(self.status, "application/x-ndjson", "transfer-encoding: chunked"))
            self.running += 1
            try:
                for number, line in enumerate(self.lines):
                    if number == self.cut_after:
                        await writer.drain()
                        writer.transport.abort()
                        return False
                    writer.write(b"%x\r\n%b\r\n" % (len(line), line))
                    await writer.drain()
                    await asyncio.sleep(self.delay_s)
                    if writer.is_closing():
                        raise ConnectionResetError
            except ConnectionError:
                self.gone += 1
                raise
            finally:
                self.running -= 1
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
