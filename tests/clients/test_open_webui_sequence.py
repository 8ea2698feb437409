"""What Open WebUI asks an Ollama server, and what it reads of each answer. From the source of its release 0.12.4.

It compares versions as whole numbers, merges `/api/tags` and `/api/ps` by `model`, reads `expires_at` with Python's
`fromisoformat`, passes lines of a chat on as they are and makes tokens per second of the last one's metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.clients

FOX = "The quick brown fox jumps over the lazy dog."
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(adapter_url: str) -> Iterator[httpx.Client]:
    headers = {"User-Agent": "Python/3.11 aiohttp/3.12.15", "Content-Type": "application/json"}
    with httpx.Client(base_url=adapter_url, headers=headers, timeout=60) as client:
        yield client


def lines(client: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an answer that is streamed."""
    with client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.iter_lines()]


def test_the_connection_is_checked_and_its_models_are_listed(client: httpx.Client) -> None:
    version = client.get("/api/version").json()["version"]
    assert [int(part) for part in version.lstrip("v").split("-")[0].split(".")] >= [0, 1, 16]
    models = {model["model"]: model for model in client.get("/api/tags").json()["models"]}
    assert {"llama2:7b", "llava:7b"} <= models.keys()
    for model in models.values():
        assert model["name"] and isinstance(model["size"], int) and len(model["digest"]) >= 12
        if model["name"] != "llava:7b":  # its details are the stand-in's for Ollama Vision
            wanted = {"parent_model", "format", "family", "parameter_size", "quantization_level"}
            assert wanted <= model["details"].keys()
    client.post("/api/generate", json={"model": "llama2:7b", "prompt": "", "keep_alive": "5m"})
    loaded = {model["model"]: model for model in client.get("/api/ps").json()["models"]}
    assert loaded.keys() <= models.keys()
    # Python before 3.11 reads at most six digits of a second; what is cut here are the nanoseconds.
    text = loaded["llama2:7b"]["expires_at"]
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) > datetime.now(timezone.utc)
    assert isinstance(loaded["llama2:7b"]["size_vram"], int)


def test_a_chat_with_its_settings(client: httpx.Client) -> None:
    body = {
        "model": "llama2:7b", "messages": [{"role": "system", "content": "Be brief."}, *HI], "stream": True,
        "options": {
            "temperature": 0.8, "top_p": 0.9, "top_k": 40, "min_p": 0, "num_ctx": 2048, "num_predict": 128, "stop": [],
            "mirostat": 0, "mirostat_eta": 0.1, "mirostat_tau": 5, "repeat_last_n": 64, "tfs_z": 1, "repeat_penalty": 1.1,
            "num_keep": 24, "use_mmap": True, "use_mlock": False, "num_thread": 2, "num_gpu": 1,
        },
        "keep_alive": "5m",
    }  # fmt: skip
    found = lines(client, "/api/chat", body)
    assert "".join(line["message"]["content"] for line in found).strip() == FOX
    last = found[-1]
    assert last["done"] is True
    assert last["eval_count"] / (last["eval_duration"] / 1e9) > 0  # tokens per second, below the answer
    assert last["prompt_eval_count"] / (last["prompt_eval_duration"] / 1e9) > 0
    assert last["total_duration"] >= last["eval_duration"]


def test_a_title_and_tags_are_asked_for_without_a_stream(client: httpx.Client) -> None:
    body = {
        "model": "llama2:7b", "messages": [{"role": "user", "content": "### Task: a title as JSON"}], "stream": False,
        "options": {"num_predict": 1000},
    }  # fmt: skip
    answer = client.post("/api/chat", json=body)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["message"]["content"].strip() == FOX
    passed = {"model": "llama2:7b", "messages": HI, "stream": False, "max_completion_tokens": 1000}
    through_openai = client.post("/v1/chat/completions", json=passed).json()
    assert through_openai["choices"][0]["message"]["content"].strip() == FOX


def test_tools_and_thoughts(client: httpx.Client) -> None:
    function = {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}}
    body = {"messages": HI, "stream": True}
    found = lines(
        client, "/api/chat", {**body, "model": "tinytool", "tools": [{"type": "function", "function": function}]}
    )
    calls = [call for line in found for call in line["message"].get("tool_calls") or ()]
    assert [call["function"]["arguments"] for call in calls] == [{"city": "Paris"}]
    found = lines(client, "/api/chat", {**body, "model": "tinythink", "think": True})
    assert "".join(line["message"].get("thinking") or "" for line in found) == "Let me ponder"


def test_a_picture_reaches_the_model_that_sees(client: httpx.Client) -> None:
    body = {"model": "llava:7b", "prompt": "What is this?", "images": ["iVBORw0KGgo="], "stream": True}
    found = lines(client, "/api/generate", body)
    assert found[-1]["done"] is True
    assert "".join(line["response"] for line in found)


def test_documents_are_embedded(client: httpx.Client) -> None:
    answer = client.post("/api/embed", json={"model": "tinyembed", "input": ["one", "two"], "truncate": True}).json()
    assert [len(vector) for vector in answer["embeddings"]] == [384, 384]
    older = client.post("/api/embeddings", json={"model": "tinyembed", "prompt": "one"}).json()
    assert len(older["embedding"]) == 384


def test_a_model_is_unloaded(client: httpx.Client) -> None:
    client.post("/api/chat", json={"model": "llama2:7b", "messages": HI, "stream": False})
    assert "llama2:7b" in [model["model"] for model in client.get("/api/ps").json()["models"]]
    answer = client.post("/api/generate", json={"model": "llama2:7b", "keep_alive": 0, "prompt": "", "stream": False})
    assert answer.json()["done_reason"] == "unload"
    assert "llama2:7b" not in [model["model"] for model in client.get("/api/ps").json()["models"]]


def test_the_page_for_administrators(client: httpx.Client) -> None:
    steps = lines(client, "/api/pull", {"model": "llama2:7b", "stream": True})
    assert steps[-1] == {"status": "success"}
    for step in steps:
        assert "error" not in step
        assert step.get("completed", 0) <= step.get("total", 0)
    unknown = lines(client, "/api/pull", {"model": "no-such-model", "stream": True})
    assert "error" in unknown[-1]
    made = lines(client, "/api/create", {"model": "webui-child", "from": "llama2:7b", "system": "Be brief."})
    assert made[-1] == {"status": "success"}
    shown = client.post("/api/show", json={"model": "webui-child"}).json()
    assert shown["system"] == "Be brief."
    assert client.request("DELETE", "/api/delete", json={"model": "webui-child"}).status_code == 200
    gone = client.request("DELETE", "/api/delete", json={"model": "webui-child"})
    assert (gone.status_code, gone.json()["error"]) == (404, "model 'webui-child' not found")
