"""A stand-in for vLLM: the lab's miniature model behind the wire format recorded from vLLM 0.32.0.

It runs on a thread of its own and can be told to misbehave in the ways a real vLLM does: see `Behaviour`. The replay of
the recordings also runs against real vLLMs (lab/engines.py), so that this file cannot drift from it unnoticed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.contract.embedding_stand_in import RequestError, embeddings
from tests.contract.lab_model_stand_in import CONTEXT, detokenize, render, tokenize
from tests.contract.stand_in_server import Received, StandInServer, head
from tests.contract.vllm_answer_stand_in import Behaviour as Behaviour
from tests.contract.vllm_answer_stand_in import Generated
from tests.contract.vllm_v1_stand_in import decision, transcription

_JSON = "application/json"
INFERENCE = {"embed": ("/v1/embeddings",), "text": ("/v1/chat/completions", "/v1/completions")}


class VllmStandIn(StandInServer):
    """See the module."""

    def __init__(self, variant: str = "plain") -> None:
        """:param variant: the chat template: plain, tools or think; or embed, which has none and embeds."""
        super().__init__()
        self.variant = variant
        self.behaviour = Behaviour()

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        behaviour = self.behaviour
        if behaviour.closes_reused and not is_first:
            return False
        if behaviour.is_garbage:
            writer.write(b"220 smtp.example ESMTP\r\n")
            await writer.drain()
            return False
        routes: dict[tuple[str, str], Any] = {
            ("GET", "/health"): lambda: (behaviour.health, b""),
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): lambda: self._tokenize(request.json),
            ("POST", "/detokenize"): lambda: (200, json.dumps({"prompt": detokenize(request.json["tokens"])}).encode()),
            ("POST", "/v1/systemone"): lambda: decision(request.json, behaviour.served, behaviour.decides),
            ("POST", "/v1/audio/transcriptions"): lambda: transcription(
                request.headers, request.body, behaviour.served, behaviour.hears
            ),
        }
        if behaviour.chat_template is not None:
            info = json.dumps({"tokenizer_class": "x", "chat_template": behaviour.chat_template}).encode()
            routes["GET", "/tokenizer_info"] = lambda: (200, info)
        inference = INFERENCE["embed" if self.variant == "embed" else "text"]
        routes |= {("GET", path): lambda: (405, b'{"detail":"Method Not Allowed"}') for path in inference}
        route = routes.get((request.method, request.path))
        if route is not None:
            status, body = route()
            writer.write(head(status, _JSON if body else "", f"content-length: {len(body)}") + body)
        elif request.method == "POST" and request.path in inference:
            return await self._generate(request, writer)
        else:
            body = b'{"detail":"Not Found"}'
            writer.write(head(404, _JSON, f"content-length: {len(body)}") + body)
        await writer.drain()
        return True

    def _models(self) -> tuple[int, bytes]:
        data = [
            {
                "id": name,
                "object": "model",
                "owned_by": "vllm",
                "root": self.behaviour.root or name,
                "max_model_len": self.behaviour.max_model_len,
            }
            for name in self.behaviour.served
        ]
        return 200, json.dumps({"object": "list", "data": data}).encode()

    def _tokenize(self, body: Any) -> tuple[int, bytes]:
        if "messages" in body:
            thinks = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
            ids = tokenize(render(self.variant, body["messages"], body.get("tools", []), thinks=thinks), special=True)
        else:
            ids = tokenize(body["prompt"], special=body.get("add_special_tokens", True))
        return 200, json.dumps(
            {"count": len(ids), "max_model_len": CONTEXT, "tokens": ids, "token_strs": None}
        ).encode()

    async def _generate(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        behaviour = self.behaviour
        if behaviour.is_hanging:
            await asyncio.sleep(3600)
        try:
            if behaviour.status != 200:
                raise RequestError(behaviour.error, "InternalServerError", status=behaviour.status)
            if self.variant == "embed":
                body = embeddings(request.json, behaviour.served, behaviour.max_model_len)
                writer.write(head(200, _JSON, f"content-length: {len(body)}") + body)
                await writer.drain()
                return True
            generated = Generated(request.json, self.variant, request.path.endswith("/chat/completions"), behaviour)
        except RequestError as error:
            body = json.dumps(error.body).encode()
            writer.write(head(error.status, _JSON, f"content-length: {len(body)}") + body)
            await writer.drain()
            return True
        if not generated.body.get("stream"):
            await asyncio.sleep(behaviour.delay_s)
            body = generated.whole()
            writer.write(head(200, _JSON, f"content-length: {len(body)}") + body)
            await writer.drain()
            return True
        writer.write(head(200, "text/event-stream; charset=utf-8", "transfer-encoding: chunked"))
        self.running += 1
        try:
            return await self._stream(generated, writer)
        finally:
            self.running -= 1

    async def _stream(self, generated: Generated, writer: asyncio.StreamWriter) -> bool:
        try:
            async for event in self._events(generated):
                if event is None:
                    writer.transport.abort()
                    return False
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                await writer.drain()
                self.sent += 1
                if writer.is_closing():
                    raise ConnectionResetError
        except ConnectionError:
            self.gone += 1
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _events(self, generated: Generated) -> AsyncIterator[bytes | None]:
        behaviour = self.behaviour
        for number, frame in enumerate(generated.frames()):
            if behaviour.delay_s:
                await asyncio.sleep(behaviour.delay_s)
            if number == behaviour.silent_after:
                await asyncio.sleep(3600)
            if number == behaviour.cut_after:
                yield None
            if number == behaviour.error_after:
                yield b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\n'
                break
            if number == behaviour.abort_after:
                yield b"data: " + generated.frame("", [], finish="abort") + b"\n\n"
                break
            if behaviour.sends_comments:
                yield b": keep-alive\n\n"
            yield b"data: " + frame + b"\n\n"
        yield b"data: [DONE]\n\n"
