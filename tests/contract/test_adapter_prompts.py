"""Prompts that are too long, that have a suffix, or that shall only be shown."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.vllm_stand_in import VllmStandIn

FOX = " The quick brown fox jumps over the lazy dog."


def post(adapter: AdapterProcess, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{adapter.port}{path}", json={"model": "llama2", "stream": False, **body})


def inference(vllm: VllmStandIn) -> dict[str, Any]:
    """What vLLM was asked for last."""
    sent: dict[str, Any] = next(one for one in reversed(vllm.received) if "/v1/" in one.path and one.body).json
    return sent


def paths(vllm: VllmStandIn) -> list[str]:
    return [one.path for one in vllm.received if one.method == "POST"]


def message(role: str, letter: str, count: int = 60, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": letter * count, **more}


def contents(vllm: VllmStandIn) -> str:
    """The first letters of the messages that vLLM got."""
    return "".join((one.get("content") or "-")[:1] for one in inference(vllm)["messages"])


def test_the_oldest_messages_go_and_the_system_message_stays(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    messages = [message("system", "s"), *(message(("user", "assistant")[n % 2], "abcde"[n]) for n in range(5))]
    answer = post(adapter, "/api/chat", {"messages": messages, "options": {"num_ctx": 256}}).json()
    assert answer["message"]["content"] == FOX
    assert contents(vllm) == "scde"
    assert answer["prompt_eval_count"] < 256


def test_a_conversation_that_fits_is_sent_as_it_is_and_nothing_is_counted(
    adapter: AdapterProcess, vllm: VllmStandIn
) -> None:
    messages = [message("user", "a"), message("assistant", "b"), message("user", "c")]
    assert post(adapter, "/api/chat", {"messages": messages, "options": {"num_ctx": 4096}}).status_code == 200
    assert (contents(vllm), paths(vllm)) == ("abc", ["/v1/chat/completions"])


@pytest.mark.parametrize("options", [{}, {"num_ctx": -1}, {"num_ctx": 10**12}])
@pytest.mark.parametrize("stream", [False, True])
def test_what_vllm_finds_too_long_is_cut_and_sent_again(
    adapter: AdapterProcess, vllm: VllmStandIn, options: dict[str, Any], stream: bool
) -> None:
    messages = [message("user", "a", 2000), message("assistant", "b", 900), message("user", "c", 900)]
    answer = post(adapter, "/api/chat", {"messages": messages, "options": options, "stream": stream})
    assert json.loads(answer.text.splitlines()[-1])["done"] is True
    assert contents(vllm) == "bc"
    assert paths(vllm).count("/v1/chat/completions") == 2


def test_a_last_message_that_is_too_long_alone_is_refused_in_ollamas_words(adapter: AdapterProcess) -> None:
    messages = [message("user", "a"), message("user", "b", 300)]
    answer = post(adapter, "/api/chat", {"messages": messages, "options": {"num_ctx": 256}})
    assert answer.status_code == 400
    error = json.loads(answer.json()["error"])["error"]
    assert (error["type"], error["n_ctx"], error["n_prompt_tokens"]) == ("exceed_context_size_error", 256, 303)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_nothing_is_cut_where_the_client_forbids_it(adapter: AdapterProcess, path: str, vllm: VllmStandIn) -> None:
    text = "a" * 2500
    answer = post(adapter, path, {"prompt": text, "messages": [{"role": "user", "content": text}], "truncate": False})
    assert answer.status_code == 400
    assert "exceeds the available context size (2048 tokens)" in answer.json()["error"]


def test_results_of_tools_stay_with_their_call(start_adapter: Start) -> None:
    with VllmStandIn("tools") as tools:
        adapter = start_adapter(vllm={"url": tools.url, "capabilities": ["completion", "tools"]})
        call = {"function": {"name": "f", "arguments": {}}}
        messages = [
            message("user", "a", 90),
            {"role": "assistant", "content": "", "tool_calls": [call]},
            message("tool", "r", 60, tool_name="f"),
            message("user", "c", 60),
        ]
        assert post(adapter, "/api/chat", {"messages": messages, "options": {"num_ctx": 256}}).status_code == 200
        assert contents(tools) in ("-rc", "c"), "never a result without its call"


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_prompt_loses_its_middle(adapter: AdapterProcess, vllm: VllmStandIn, stream: bool) -> None:
    body = {"prompt": "a" * 3000 + "z" * 10, "stream": stream, "options": {"num_predict": 3, "num_keep": 10}}
    last = json.loads(post(adapter, "/api/generate", body).text.splitlines()[-1])
    prompt = inference(vllm)["prompt"]
    assert len(prompt) == last["prompt_eval_count"] == 11 + (2048 - 11) - (2048 - 11) // 2
    assert (prompt[0], prompt[-1]) == (1, 261), "the tokenizer's first token and the one that asks for an answer"
    assert len(last["context"]) > 3000, "context has all of it, as recorded"


def test_an_answer_that_may_not_shift_ends_with_the_context(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    body = {"prompt": "a" * 50, "options": {"num_ctx": 57}, "shift": False}
    answer = post(adapter, "/api/generate", body).json()
    assert (answer["done_reason"], answer["eval_count"]) == ("length", 4)
    assert answer["prompt_eval_count"] + answer["eval_count"] == 57


def test_context_and_a_long_prompt_are_cut_together(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    answer = post(
        adapter, "/api/generate", {"prompt": "b" * 1500, "context": [300] * 1000, "options": {"num_predict": 2}}
    )
    assert answer.json()["prompt_eval_count"] < 2048
    assert inference(vllm)["prompt"][:5] == [1, 300, 300, 300, 300]


def test_a_suffix_becomes_the_prompt_that_the_model_was_trained_on(start_adapter: Start, vllm: VllmStandIn) -> None:
    adapter = start_adapter(
        vllm={"capabilities": ["completion"], "fim_template": "<|fim_pre|>{prefix}<|fim_suf|>{suffix}<|fim_mid|>"}
    )
    answer = post(adapter, "/api/generate", {"prompt": "def {suffix}(", "suffix": "return"}).json()
    assert answer["response"] == " middle part;"
    sent = inference(vllm)
    assert sent["prompt"] == "<|fim_pre|>def {suffix}(<|fim_suf|>return<|fim_mid|>"
    assert "suffix" not in sent
    shown = post(adapter, "/api/show", {}).json()
    assert "insert" in shown["capabilities"]
    assert "<|fim_suf|>{{ .Suffix }}<|fim_mid|>" in shown["template"]


def test_a_prompt_can_be_shown_instead_of_answered(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    messages = [{"role": "system", "content": "Be <brief>."}, {"role": "user", "content": "hi"}]
    answer = post(adapter, "/api/chat", {"messages": messages, "_debug_render_only": True, "stream": True}).json()
    assert answer["_debug_info"] == {"rendered_template": "<|system|>Be <brief>.<|user|>hi<|assistant|>"}
    assert (answer["message"], answer["done"]) == ({"role": "", "content": ""}, False)
    raw = post(adapter, "/api/generate", {"prompt": "as it is", "raw": True, "_debug_render_only": True}).json()
    assert raw["_debug_info"] == {"rendered_template": "as it is"}
    assert not [path for path in paths(vllm) if path.startswith("/v1/")]


def test_a_client_of_openais_gets_the_same(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    messages = [message("user", "a", 2000), message("assistant", "b", 900), message("user", "c", 900)]
    answer = post(adapter, "/v1/chat/completions", {"messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == FOX
    assert contents(vllm) == "bc"
