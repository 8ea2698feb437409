"""What Open WebUI asks an Ollama server for, in its order, and what it reads of the answers.

After `routers/ollama.py`, `utils/payload.py` and `utils/response.py` of its public source. It reads with
aiohttp, whose `json()` refuses an answer that is not declared as JSON: see `reading.json_of`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from tests.clients.conftest import MODELS, VISION
from tests.clients.reading import events_of, json_of, lines_of

pytestmark = pytest.mark.clients
_HEADERS = {
    "Content-Type": "application/json",
    "Authorization": "Bearer key-of-this-connection",
    "X-OpenWebUI-User-Name": "J%C3%BCrgen Example",
    "X-OpenWebUI-User-Id": "0b8f9a3e-5d0e-4a6e-8f5c-6f2a7c9d1e2f",
    "X-OpenWebUI-User-Email": "juergen@example.org",
    "X-OpenWebUI-User-Role": "admin",
    "X-OpenWebUI-Chat-Id": "c0ffee00-5d0e-4a6e-8f5c-6f2a7c9d1e2f",
}
_TEXT, _TOOLS, _THINK, _EMBED = (MODELS[variant][0] for variant in ("plain", "tools", "think", "embed"))
_FOX = "The quick brown fox jumps over the lazy dog."
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# Every option that a model's settings page can send, and one of its own making (from `presence_penalty`).
_OPTIONS = {
    "temperature": 0.8, "top_p": 0.9, "top_k": 40, "min_p": 0.0, "seed": 42, "num_ctx": 2048, "num_predict": 128,
    "num_keep": 24, "num_batch": 512, "num_thread": 4, "num_gpu": 1, "use_mmap": True, "use_mlock": False,
    "repeat_penalty": 1.1, "repeat_last_n": 64, "mirostat": 0, "mirostat_eta": 0.1, "mirostat_tau": 5.0, "tfs_z": 1,
    "new_topic_penalty": 0.0,
}  # fmt: skip


@pytest.fixture
def webui(adapter_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=adapter_url, timeout=30, headers=_HEADERS) as client:
        yield client


def chat_lines(client: httpx.Client, model: str, messages: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    lines = lines_of(client.post("/api/chat", json={"model": model, "messages": messages, "stream": True, **more}))
    assert [line.get("done", False) for line in lines] == [False] * (len(lines) - 1) + [True]
    assert {line["model"] for line in lines} == {model}
    return lines


def joined(lines: list[dict[str, Any]], field: str) -> str:
    return "".join(line["message"].get(field) or "" for line in lines)


def test_a_connection_is_verified_and_its_models_are_listed(webui: httpx.Client) -> None:
    version = json_of(webui.get("/api/version"))["version"]
    assert all(int(part) >= 0 for part in re.sub(r"^v|-.*", "", version).split("."))
    webui.post("/api/generate", json={"model": _TEXT, "prompt": "", "keep_alive": "10m"}).raise_for_status()
    models = {model["model"]: model for model in json_of(webui.get("/api/tags"))["models"]}
    for model in models.values():
        assert model["name"] == model["model"]
        assert isinstance(model["size"], int) and isinstance(model["digest"], str)
        assert isinstance(model["details"], dict)
        assert datetime.fromisoformat(model["modified_at"]).tzinfo
    assert {_TEXT, f"{_TOOLS}:latest", VISION} <= models.keys()
    # The list is merged with what is loaded: by name, with the time in seconds.
    loaded = {model["name"]: model for model in json_of(webui.get("/api/ps"))["models"]}
    ends = datetime.fromisoformat(loaded[_TEXT]["expires_at"])
    left = ends - datetime.now(timezone.utc)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
    assert isinstance(loaded[_TEXT]["size_vram"], int)
    shown = json_of(webui.post("/api/show", json={"model": f"{_TOOLS}:latest"}))
    assert shown["capabilities"] == ["completion", "tools"]
    assert isinstance(shown["details"], dict) and isinstance(shown["model_info"], dict)


def test_a_chat_streams_with_every_option(webui: httpx.Client) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    lines = chat_lines(webui, _TEXT, messages, options=_OPTIONS, keep_alive="5m")
    assert len(lines) > 3
    assert joined(lines, "content").strip() == _FOX
    usage = lines[-1]
    for field in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
                  "eval_duration"):  # fmt: skip
        assert isinstance(usage[field], int) and usage[field] > 0, field
    # A second turn has the first answer in it; Open WebUI adds neither `thinking` nor an empty `images`.
    history = [
        *messages,
        {"role": "assistant", "content": joined(lines, "content")},
        {"role": "user", "content": "more"},
    ]
    again = chat_lines(webui, _TEXT, history, options={"stop": ["\n\n\n"], "temperature": None})
    assert again[-1]["prompt_eval_count"] > usage["prompt_eval_count"]


def test_thoughts_are_shown_apart(webui: httpx.Client) -> None:
    lines = chat_lines(webui, _THINK, [{"role": "user", "content": "hi"}], think=True)
    assert (joined(lines, "thinking"), joined(lines, "content")) == ("Let me ponder", "Answer is ready!")


def test_a_tool_is_called_natively_and_its_result_sent_back(webui: httpx.Client) -> None:
    asked: list[dict[str, Any]] = [{"role": "user", "content": "How is the weather in Paris?"}]
    lines = chat_lines(webui, f"{_TOOLS}:latest", asked, tools=[_WEATHER])
    (call,) = [call for line in lines for call in line["message"].get("tool_calls") or ()]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("get_weather", {"city": "Paris"})
    assert call.get("index", call["function"].get("index", 0)) == 0
    # Converted to OpenAI's form for its own use, and back for the next request.
    arguments = json.loads(json.dumps(call["function"]["arguments"]))
    back = {"index": 0, "id": call.get("id", "call_1"), "function": {"name": "get_weather", "arguments": arguments}}
    history = [*asked, {"role": "assistant", "content": "", "tool_calls": [back]},
               {"role": "tool", "tool_call_id": back["id"], "content": "sunny"}]  # fmt: skip
    after = chat_lines(webui, f"{_TOOLS}:latest", history)
    assert joined(after, "content")
    assert not any(line["message"].get("tool_calls") for line in after)


def test_a_title_is_asked_for_in_one_piece(webui: httpx.Client) -> None:
    prompt = (
        "### Task:\nGenerate a concise, 3-5 word title.\n### Chat History:\n<chat_history>\nUSER: hi\n</chat_history>"
    )
    body = {"model": _TEXT, "messages": [{"role": "user", "content": prompt}], "stream": False,
            "options": {"num_predict": 1000}}  # fmt: skip
    answer = json_of(webui.post("/api/chat", json=body))
    assert (answer["done"], answer["message"]["role"]) == (True, "assistant")
    assert answer["message"]["content"].strip() == _FOX
    assert answer["eval_count"] > 0


def test_a_picture_from_the_chat_goes_to_the_model_that_sees(webui: httpx.Client) -> None:
    asked = [{"role": "user", "content": "What is this?", "images": [_PIXEL]}]
    lines = lines_of(webui.post("/api/chat", json={"model": VISION, "messages": asked, "stream": True}))
    assert joined(lines, "content") == "a cat"


def test_openais_routes_are_passed_through(webui: httpx.Client) -> None:
    asked = {"model": _TEXT, "messages": [{"role": "user", "content": "hi"}]}
    whole = json_of(webui.post("/v1/chat/completions", json={**asked, "stream": False, "max_tokens": 3}))
    assert whole["choices"][0]["message"]["content"] == " The quick brown"
    chunks = events_of(webui.post("/v1/chat/completions", json={**asked, "stream": True}))
    assert (
        "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]).strip()
        == _FOX
    )
    completed = json_of(webui.post("/v1/completions", json={"model": _TEXT, "prompt": "The sky", "max_tokens": 2}))
    assert completed["choices"][0]["text"] == " The quick"
    assert _TEXT in {model["id"] for model in json_of(webui.get("/v1/models"))["data"]}


def test_documents_are_embedded(webui: httpx.Client) -> None:
    batch = json_of(webui.post("/api/embed", json={"input": ["hello", "world"], "model": _EMBED}))
    assert [len(vector) for vector in batch["embeddings"]] == [384, 384]
    single = json_of(webui.post("/api/embeddings", json={"model": _EMBED, "prompt": "hello"}))
    assert single["embedding"] == pytest.approx(batch["embeddings"][0], abs=1e-6)


def test_a_model_is_unloaded_from_the_menu(webui: httpx.Client) -> None:
    webui.post("/api/generate", json={"model": _TEXT, "prompt": "", "keep_alive": "10m"}).raise_for_status()
    # `stream` is not set, and the answer is read as one JSON document all the same.
    answer = json_of(webui.post("/api/generate", json={"model": _TEXT, "keep_alive": 0, "prompt": ""}))
    assert (answer["done"], answer["done_reason"]) == (True, "unload")
    assert _TEXT not in {model["name"] for model in json_of(webui.get("/api/ps"))["models"]}


def test_models_are_pulled_made_copied_and_deleted_with_progress(webui: httpx.Client) -> None:
    pulled = lines_of(webui.post("/api/pull", json={"model": _TEXT, "name": _TEXT, "insecure": True}))
    for step in pulled:
        assert isinstance(step["status"], str) and "error" not in step
        assert "digest" not in step or step["total"] >= step.get("completed", 0)  # the bar divides one by the other
    assert pulled[-1]["status"] == "success"
    made = lines_of(webui.post("/api/create", json={"model": "webui-child", "from": _TEXT, "system": "Be brief."}))
    assert made[-1]["status"] == "success"
    copied = webui.post("/api/copy", json={"source": "webui-child:latest", "destination": "webui-copy"})
    assert copied.status_code == 200
    names = {model["model"] for model in json_of(webui.get("/api/tags"))["models"]}
    assert {"webui-child:latest", "webui-copy:latest"} <= names
    for name in ("webui-child:latest", "webui-copy:latest"):
        body = json.dumps({"name": name, "model": name})
        assert webui.request("DELETE", "/api/delete", content=body).status_code == 200
    left = {model["model"] for model in json_of(webui.get("/api/tags"))["models"]}
    assert names - left == {"webui-child:latest", "webui-copy:latest"}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show"])
def test_an_error_is_json_with_its_text(webui: httpx.Client, path: str) -> None:
    body = {"model": "gone:latest", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
    response = webui.post(path, json=body)
    assert response.status_code == 404
    assert "gone:latest" in json_of(response)["error"]
