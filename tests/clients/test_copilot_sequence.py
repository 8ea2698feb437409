"""What VS Code's Copilot asks an Ollama server, in its order, and what it reads of each answer.

From its source of March 2026 (chat extension, Ollama provider): the version must be at least 0.6.4; the models are those of
`/api/tags`, by `model`; each is shown, and one without `tools` among its capabilities is not offered to agents; chats go to
`/v1/chat/completions`, streamed, with tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.clients

OLDEST = (0, 6, 4)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
def client(adapter_url: str) -> Iterator[httpx.Client]:
    headers = {"User-Agent": "GitHubCopilotChat/0.38.0"}
    with httpx.Client(base_url=adapter_url, headers=headers, timeout=60) as client:
        yield client


def events(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a streamed chat, which ends as OpenAI's do."""
    with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert data[-1] == "[DONE]"
    return [json.loads(text) for text in data[:-1]]


def test_the_version_is_new_enough(client: httpx.Client) -> None:
    version = client.get("/api/version").json()["version"]
    assert tuple(int(part) for part in version.split(".")) >= OLDEST


def test_every_model_that_is_listed_can_be_shown(client: httpx.Client) -> None:
    names = [model["model"] for model in client.get("/api/tags").json()["models"]]
    assert {"llama2:7b", "tinytool:latest", "llava:7b"} <= set(names)
    for name in names:
        shown = client.post("/api/show", json={"model": name}).json()
        assert isinstance(shown["capabilities"], list), name
        if name == "llava:7b":
            continue  # what else it says of itself is the stand-in's for Ollama Vision
        architecture = shown["model_info"]["general.architecture"]
        assert shown["model_info"][f"{architecture}.context_length"] == 2048
        assert ("tools" in shown["capabilities"]) is (name == "tinytool:latest")


def test_an_agent_calls_a_tool_and_goes_on_with_its_result(client: httpx.Client) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": [{"type": "text", "text": "How is the weather in Paris?"}]},
    ]
    body = {
        "model": "tinytool:latest", "messages": messages, "tools": TOOLS, "tool_choice": "auto", "temperature": 0.1,
        "top_p": 1, "max_tokens": 200, "n": 1, "stream_options": {"include_usage": True},
    }  # fmt: skip
    chunks = events(client, body)
    pieces = [
        piece for chunk in chunks for choice in chunk["choices"] for piece in choice["delta"].get("tool_calls") or ()
    ]
    assert [piece["function"]["name"] for piece in pieces if piece["function"].get("name")] == ["get_weather"]
    assert json.loads("".join(piece["function"].get("arguments") or "" for piece in pieces)) == {"city": "Paris"}
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] > 0

    call = {**pieces[0], "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    call.pop("index", None)
    answered = [
        *messages,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    chunks = events(client, {"model": "tinytool:latest", "messages": answered})
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text.strip() == "The quick brown fox jumps over the lazy dog."


def test_a_model_that_has_gone_is_an_error_it_can_show(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/chat/completions",
        json={"model": "no-such-model", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "model 'no-such-model' not found"
