"""Prompts that a template of the client's makes: of one request, or of a virtual model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.test_adapter_prompts import inference, post
from tests.contract.vllm_stand_in import VllmStandIn

FOX = " The quick brown fox jumps over the lazy dog."
CHAT = "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ end }}<|assistant|>"
TOOLS = "{{ .Tools }}" + CHAT


@pytest.fixture
def make(adapter: AdapterProcess) -> Iterator[Any]:
    """Makes virtual models, and deletes them in the end."""
    names: list[str] = []

    def made(name: str, **fields: Any) -> httpx.Response:
        names.append(name)
        return post(adapter, "/api/create", {"model": name, "from": "llama2", **fields})

    yield made
    for name in names:
        httpx.request("DELETE", f"http://127.0.0.1:{adapter.port}/api/delete", json={"model": name})


@pytest.mark.parametrize("stream", [False, True])
def test_the_template_of_a_request_makes_the_prompt(adapter: AdapterProcess, vllm: VllmStandIn, stream: bool) -> None:
    body = {"prompt": "hi", "system": "S", "template": "{{ .System }}-{{ .Prompt }}<|assistant|>", "stream": stream}
    answer = post(adapter, "/api/generate", body)
    assert answer.status_code == 200
    assert inference(vllm)["prompt"] == "S-hi<|assistant|>"
    last = answer.text.splitlines()[-1]
    assert '"prompt_eval_count":6' in last
    assert '"context":[' in last
    shown = post(adapter, "/api/generate", {**body, "_debug_render_only": True}).json()
    assert shown["_debug_info"] == {"rendered_template": "S-hi<|assistant|>"}


def test_what_context_stands_for_comes_before_what_the_template_makes(
    adapter: AdapterProcess, vllm: VllmStandIn
) -> None:
    body = {"prompt": "hi", "template": "{{ .Prompt }}<|assistant|>", "context": [300, 301]}
    assert post(adapter, "/api/generate", body).json()["response"] == FOX
    prompt = inference(vllm)["prompt"]
    assert (prompt[:3], prompt[-1]) == ([1, 300, 301], 261)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"template": "{{ .X"}, 500, "template: :1: unclosed action"),
        (
            {"template": "{{ .Prompt.X }}"},
            500,
            'template: :1:10: executing "" at <.Prompt.X>: can\'t evaluate field X in type string',
        ),
        ({"template": "{{ .X", "raw": True}, 400, "raw mode does not support template, system, or context"),
    ],
)
def test_a_template_that_does_not_work_is_an_error(
    adapter: AdapterProcess, body: dict[str, Any], status: int, error: str
) -> None:
    answer = post(adapter, "/api/generate", {"prompt": "hi", **body})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_a_request_without_a_prompt_loads_the_model_whatever_its_template(adapter: AdapterProcess) -> None:
    assert post(adapter, "/api/generate", {"template": "{{ .X"}).json()["done_reason"] == "load"


def test_a_virtual_model_answers_by_its_own_template(adapter: AdapterProcess, vllm: VllmStandIn, make: Any) -> None:
    assert make("own", template=CHAT, system="S").json() == {"status": "success"}
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert post(adapter, "/api/chat", {"model": "own", "messages": messages}).json()["message"]["content"] == FOX
    assert inference(vllm)["prompt"] == "[system]S[user]a\n\nb<|assistant|>"
    assert post(adapter, "/api/generate", {"model": "own", "prompt": "hi"}).json()["response"] == FOX
    assert inference(vllm)["prompt"] == "[system]S[user]hi<|assistant|>"
    url = f"http://127.0.0.1:{adapter.port}/v1/chat/completions"
    assert httpx.post(url, json={"model": "own", "messages": messages}).status_code == 200
    assert inference(vllm)["prompt"] == "[system]S[user]a\n\nb<|assistant|>"
    assert post(adapter, "/api/show", {"model": "own"}).json()["template"] == CHAT


def test_a_long_conversation_is_cut_before_its_template_renders_it(
    adapter: AdapterProcess, vllm: VllmStandIn, make: Any
) -> None:
    make("own", template=CHAT)
    messages = [{"role": ("user", "assistant")[n % 2], "content": "abcde"[n] * 60} for n in range(5)]
    body = {"model": "own", "messages": messages, "options": {"num_ctx": 200}}
    assert post(adapter, "/api/chat", body).json()["prompt_eval_count"] < 200
    prompt = inference(vllm)["prompt"]
    assert prompt.startswith("[assistant]dd")
    assert prompt.endswith("e<|assistant|>")


def test_a_template_that_needs_what_was_cut_is_an_error(adapter: AdapterProcess, make: Any) -> None:
    make("own", template="{{ $last := index .Messages 2 }}{{ $last.Content }}<|assistant|>")
    messages = [{"role": ("user", "assistant")[n % 2], "content": "a" * 150} for n in range(3)]
    answer = post(adapter, "/api/chat", {"model": "own", "messages": messages, "options": {"num_ctx": 100}})
    assert answer.status_code == 400
    assert "index out of range: 2" in answer.json()["error"]


def test_a_bad_template_makes_no_model(adapter: AdapterProcess, make: Any) -> None:
    answer = make("bad", template="{{ if .X }}")
    assert (answer.status_code, answer.json()) == (400, {"error": "template error: template: :1: unexpected EOF"})
    assert post(adapter, "/api/show", {"model": "bad"}).status_code == 404


def test_a_template_of_its_own_says_what_a_virtual_model_can(start_adapter: Start) -> None:
    with VllmStandIn("tools") as tools:
        adapter = start_adapter(vllm={"url": tools.url, "capabilities": ["completion", "tools", "thinking"]})
        think = "{{ range .Messages }}{{ .Content }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ end }}"
        suffix = "{{ if .Suffix }}<|fim_pre|>{{ .Prompt }}<|fim_suf|>{{ .Suffix }}<|fim_mid|>{{ else }}{{ .Prompt }}{{ end }}"
        for name, template in {"plain": CHAT, "tools": TOOLS, "think": think, "suffix": suffix}.items():
            made = post(adapter, "/api/create", {"model": name, "from": "llama2", "template": template})
            assert made.json() == {"status": "success"}
        url = f"http://127.0.0.1:{adapter.port}/api/tags"
        can = {entry["name"]: entry["capabilities"] for entry in httpx.get(url).json()["models"]}
        assert (can["plain:latest"], can["tools:latest"], can["think:latest"], can["suffix:latest"]) == (
            ["completion"],
            ["completion", "tools"],
            ["completion", "thinking"],
            ["completion", "insert"],
        )
        filled = post(adapter, "/api/generate", {"model": "suffix", "prompt": "a", "suffix": "b"}).json()
        assert (filled["response"], inference(tools)["prompt"]) == (
            " middle part;",
            "<|fim_pre|>a<|fim_suf|>b<|fim_mid|>",
        )
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "tools": [tool]}
        refused = post(adapter, "/api/chat", {"model": "plain", **body})
        assert (refused.status_code, "does not support tools" in refused.text) == (400, True)
        # Calls are read by vLLM, behind the model's own chat template alone.
        called = post(adapter, "/api/chat", {"model": "tools", **body}).json()["message"]
        assert called["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
