"""What the Ollama provider of VS Code's Copilot Chat asks for, in its order, and what it reads of the answers.

After `ollamaProvider.ts`, `openAIEndpoint.ts` and `stream.ts` of the extension's public source (early 2026).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.conftest import MODELS, VISION
from tests.clients.reading import events_of

pytestmark = pytest.mark.clients
# The provider has no key of its own here: a bearer without a token goes out all the same.
_HEADERS = {
    "User-Agent": "GitHubCopilotChat/0.40.0",
    "Content-Type": "application/json",
    "Authorization": "Bearer",
    "OpenAI-Intent": "conversation-agent",
    "X-GitHub-Api-Version": "2025-05-01",
    "X-Initiator": "user",
    "X-Request-Id": "5b0b7c0e-6b5c-4a8e-9d7f-1f2e3d4c5b6a",
}
_OLDEST = (0, 6, 4)  # an older server is refused with an error message
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"{name} of a city", "parameters": parameters}}
    for name, parameters in (
        ("get_weather", _CITY),
        ("get_time", _CITY),
        ("list_files", {"type": "object", "properties": {}}),  # what the extension gives a tool that takes nothing
    )
]
_ASKED: list[dict[str, Any]] = [
    {"role": "system", "content": "You are an expert AI programming assistant."},
    {"role": "user", "content": [{"type": "text", "text": "How is the weather in Paris?"}]},
]


@pytest.fixture
def copilot(adapter_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=adapter_url, timeout=30, headers=_HEADERS) as client:
        yield client


def chat(client: httpx.Client, model: str, messages: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """The chunks of an answer; `max_tokens` is left out on purpose, so the server's limit holds."""
    body = {"model": model, "messages": messages, "temperature": 0.1, "top_p": 1, "n": 1, "stream": True,
            "stream_options": {"include_usage": True}, **more}  # fmt: skip
    return events_of(client.post("/v1/chat/completions", json=body))


def collected(chunks: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]], str, dict[str, Any]]:
    """Text, calls, reason and usage, put together as Copilot does: calls by index, id and name from where they first come."""
    text, reason = "", ""
    calls: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    for chunk in chunks:
        assert isinstance(chunk["choices"], list)  # a chunk without it is read as an error
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            assert not reason, "a choice goes on after its end"
            delta = choice["delta"]
            text += delta.get("content") or ""
            for part in delta.get("tool_calls") or ():
                call = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                call["id"] = part.get("id") or call["id"]
                call["name"] = part["function"].get("name") or call["name"]
                call["arguments"] += part["function"].get("arguments") or ""
            reason = choice.get("finish_reason") or ""
    return text, [calls[index] for index in sorted(calls)], reason, usage


def test_the_models_are_found(copilot: httpx.Client) -> None:
    version = copilot.get("/api/version").json()["version"]
    assert tuple(int(part) for part in version.split("-")[0].split(".")) >= _OLDEST
    found = {}
    for model in copilot.get("/api/tags").json()["models"]:
        shown = copilot.post("/api/show", json={"model": model["model"]}).json()
        assert isinstance(shown["capabilities"], list)  # `includes` is called on it
        assert isinstance(shown["model_info"], dict)
        found[model["model"]] = shown
    for variant, (name, capabilities) in MODELS.items():
        shown = found[name if ":" in name else f"{name}:latest"]
        assert shown["capabilities"] == capabilities, variant
        info = shown["model_info"]
        context = info[f"{info['general.architecture']}.context_length"]
        assert isinstance(context, int) and context == 2048  # shared between prompt and answer
        assert isinstance(info["general.basename"], str) and info["general.basename"]  # the name in the picker
    assert "vision" in found[VISION]["capabilities"]


def test_a_chat_streams_with_its_usage(copilot: httpx.Client) -> None:
    text, calls, reason, usage = collected(chat(copilot, MODELS["plain"][0], _ASKED))
    assert text.strip() == "The quick brown fox jumps over the lazy dog."
    assert (calls, reason) == ([], "stop")
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_an_agent_calls_a_tool_and_goes_on_with_its_result(copilot: httpx.Client) -> None:
    model = f"{MODELS['tools'][0]}:latest"  # the name as /api/tags has it
    _, (call,), reason, _ = collected(chat(copilot, model, _ASKED, tools=_TOOLS, tool_choice="auto"))
    assert reason == "tool_calls"
    assert call["id"] and call["name"] == "get_weather"
    assert json.loads(call["arguments"]) == {"city": "Paris"}
    function = {"name": call["name"], "arguments": call["arguments"]}
    history = [
        *_ASKED,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    # The model calls as long as it may: the same tools again, another call with another id.
    _, (again,), reason, _ = collected(chat(copilot, model, history, tools=_TOOLS))
    assert reason == "tool_calls" and again["id"] != call["id"]
    text, calls, reason, _ = collected(chat(copilot, model, history))
    assert (calls, reason) == ([], "stop")
    assert text


def test_a_model_that_is_gone_is_an_error_with_a_message(copilot: httpx.Client) -> None:
    response = copilot.post("/v1/chat/completions", json={"model": "gone", "messages": _ASKED, "stream": True})
    assert response.status_code == 404
    assert response.json()["error"]["message"] == "model 'gone' not found"
