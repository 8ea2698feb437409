"""A server that plays recorded exchanges with a real Ollama or vLLM, whole or broken in one way."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.contract.recorded import RECORDINGS
from tests.contract.stand_in_server import Received, StandInServer, head

MODEL = "tinytool:v1"  # in the recorded list
# How an answer to a prompt goes wrong.
FAULTS = ("503", "error-line", "broken-stream", "no-last-line", "bad-json", "silence", "no-http", "closed", "no-count")


@cache
def recorded(file: str, name: str, run: str = "") -> Any:
    """The body of a recorded answer, and the sizes of its pieces where they were recorded."""
    for line in (RECORDINGS / file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["name"] == name and (not run or row["run"].startswith(run)):
            return row["response"]["body"], row["response"].get("chunk_sizes")
    raise LookupError(name)


def of_ollama(name: str) -> Any:
    """From Ollama's recordings."""
    return recorded("ollama-0.32.15.jsonl", name)


def of_vllm(name: str) -> Any:
    """From vLLM's recordings."""
    return recorded("vllm-0.32.0-cpu.jsonl", name, "run3" if name.startswith("overload") else "run2")


class RecordedServer(StandInServer):
    """Plays one of the two. `fault` is one of FAULTS, or none."""

    def __init__(self, api: str = "ollama", fault: str = "", quantisation: str = "", delay_s: float = 0.0) -> None:
        super().__init__()
        self.api, self.fault, self.quantisation, self.delay_s = api, fault, quantisation, delay_s
        self.prompts: list[dict[str, Any]] = []

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        if request.path in ("/api/generate", "/v1/chat/completions"):
            return await self._generate(request.json, writer)
        if request.path == "/metrics":
            body = of_vllm("metrics_after" if len(self.prompts) > 2 else "metrics_before")[0]
        elif request.path == "/api/show":
            shown = json.loads(of_ollama("show")[0])
            shown["details"]["quantization_level"] = self.quantisation or shown["details"]["quantization_level"]
            body = json.dumps(shown)
        else:
            body = {"/api/tags": of_ollama("tags_after"), "/v1/models": of_vllm("models")}[request.path][0]
        raw = body.encode()
        writer.write(head(200, "application/json", f"content-length: {len(raw)}") + raw)
        await writer.drain()
        return True

    async def _generate(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        self.prompts.append(asked)
        await asyncio.sleep(self.delay_s)
        if self.fault == "503":
            raw = of_vllm("overload_503")[0].encode()
            writer.write(head(503, "application/json", f"content-length: {len(raw)}") + raw)
            await writer.drain()
            return True
        if self.fault == "silence":
            await asyncio.sleep(60)
        if self.fault == "no-http":
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
        if self.fault in ("closed", "no-http"):
            return False
        if not asked["stream"]:
            raw = (of_ollama("gen_nostream_full") if self.api == "ollama" else of_vllm("chat"))[0].encode()
            raw = b"<html>" if self.fault == "bad-json" else raw
            writer.write(head(200, "application/json", f"content-length: {len(raw)}") + raw)
            await writer.drain()
            return True
        writer.write(head(200, "application/x-ndjson", "transfer-encoding: chunked"))
        pieces = self.pieces()
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.002)
        if self.fault == "broken-stream":
            writer.transport.abort()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def pieces(self) -> list[bytes]:
        """The pieces of a streamed answer, with the fault in them."""
        events = "chat_stream" if self.fault == "no-count" else "chat_stream_usage"
        body = (of_ollama("gen_stream_full") if self.api == "ollama" else of_vllm(events))[0].encode()
        end = b"\n" if self.api == "ollama" else b"\n\n"
        pieces = [piece + end for piece in body.split(end) if piece]
        start = b"" if self.api == "ollama" else b"data: "
        if self.fault == "error-line":
            return [*pieces[:2], start + b'{"error":"vLLM <went> away"}' + end]
        if self.fault == "bad-json":
            return [*pieces[:2], start + b'{"response": ' + end]
        return pieces[:3] if self.fault in ("broken-stream", "no-last-line") else pieces


def found(directory: Path, name: str = "run") -> dict[str, Any]:
    """The JSON of a run."""
    loaded: dict[str, Any] = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    return loaded
