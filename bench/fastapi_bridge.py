"""The common bridge, written fairly: FastAPI, one shared httpx client, `aiter_lines`, the standard library's JSON.

It is the shape that the small Ollama-to-OpenAI bridges have: a pydantic model of the request, one dict per line. It does
better than most of them: the client and its connections are kept, and no model is built per chunk.

    BENCH_UPSTREAM=http://127.0.0.1:18100 uvicorn bench.fastapi_bridge:app
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any

import httpx
from fastapi import FastAPI  # type: ignore[import-not-found, unused-ignore]
from fastapi.responses import JSONResponse, StreamingResponse  # type: ignore[import-not-found, unused-ignore]
from pydantic import BaseModel

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:8000")
SERVED_MODEL = "llm"


class Message(BaseModel):
    """A message of a chat."""

    role: str
    content: str = ""


class ChatRequest(BaseModel):
    """The body of /api/chat."""

    model: str
    messages: list[Message]
    stream: bool = True
    options: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(application: Any) -> AsyncIterator[None]:
    """Keeps one client with as many connections as are needed; httpx's own limit is 100, of which 20 are kept."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=UPSTREAM, timeout=None, limits=limits) as client:
        application.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


def to_openai(request: ChatRequest) -> dict[str, Any]:
    """The request to vLLM."""
    body: dict[str, Any] = {
        "model": SERVED_MODEL,
        "messages": [message.model_dump() for message in request.messages],
        "stream": request.stream,
    }
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    if "temperature" in request.options:
        body["temperature"] = request.options["temperature"]
    if "num_predict" in request.options:
        body["max_tokens"] = request.options["num_predict"]
    return body


def line(model: str, content: str, **more: Any) -> dict[str, Any]:
    """One object of the answer."""
    now = datetime.now(timezone.utc).isoformat()
    return {"model": model, "created_at": now, "message": {"role": "assistant", "content": content}, **more}


def ending(started_ns: int, usage: dict[str, Any], reason: str) -> dict[str, Any]:
    """The fields of the last object."""
    total = time.monotonic_ns() - started_ns
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_count": usage.get("prompt_tokens", 0),
        "prompt_eval_duration": 0,
        "eval_count": usage.get("completion_tokens", 0),
        "eval_duration": total,
    }


async def chat(request: ChatRequest) -> Any:
    """POST /api/chat."""
    started_ns = time.monotonic_ns()
    client: httpx.AsyncClient = app.state.client
    if request.stream:
        return StreamingResponse(chat_lines(client, request, started_ns), media_type="application/x-ndjson")
    response = await client.post("/v1/chat/completions", json=to_openai(request))
    if response.status_code != 200:
        return JSONResponse({"error": response.text}, status_code=response.status_code)
    answer = response.json()
    choice = answer["choices"][0]
    last = ending(started_ns, answer.get("usage") or {}, choice["finish_reason"])
    return JSONResponse(line(request.model, choice["message"]["content"] or "", **last))


async def chat_lines(client: httpx.AsyncClient, request: ChatRequest, started_ns: int) -> AsyncIterator[str]:
    """The lines of a streamed answer."""
    usage: dict[str, Any] = {}
    reason = "stop"
    async with client.stream("POST", "/v1/chat/completions", json=to_openai(request)) as response:
        async for event in response.aiter_lines():
            if not event.startswith("data: "):
                continue
            data = event[6:]
            if data == "[DONE]":
                break
            part = json.loads(data)
            usage = part.get("usage") or usage
            if not part["choices"]:
                continue
            choice = part["choices"][0]
            reason = choice["finish_reason"] or reason
            content = choice["delta"].get("content")
            if content:
                yield json.dumps(line(request.model, content, done=False)) + "\n"
    yield json.dumps(line(request.model, "", **ending(started_ns, usage, reason))) + "\n"


app.add_api_route("/api/chat", chat, methods=["POST"], response_model=None)
