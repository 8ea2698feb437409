from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ollama_adapter.ollama.requests import TextRequest
from ollama_adapter.vllm.to_vllm import (
    TextModel,
    VllmRequest,
    from_ids,
    image_type,
    text_prompt,
    to_vllm,
    tokenize_prompt,
    tokenize_text,
)

EVERYTHING = frozenset(("completion", "tools", "thinking", "vision", "insert"))


def model(*, template: bool = True, capabilities: frozenset[str] = frozenset(), **options: Any) -> TextModel:
    return TextModel("llm", 2048, capabilities, template, options)


def fields(request: VllmRequest) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(request.body)
    return decoded


def chat(*messages: dict[str, Any], **more: Any) -> TextRequest:
    return TextRequest("chat", "m", messages=list(messages), **more)


def test_a_prompt_goes_through_the_chat_template() -> None:
    sent = to_vllm(TextRequest("generate", "m", prompt="hi", system="be brief"), model())
    assert sent.path == b"/v1/chat/completions"
    assert fields(sent) == {
        "model": "llm",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    }


def test_an_answer_that_is_not_streamed_is_asked_for_whole() -> None:
    sent = fields(to_vllm(chat({"role": "user", "content": "x"}, stream=False), model()))
    assert sent["stream"] is False
    assert "stream_options" not in sent


@pytest.mark.parametrize(
    "request_", [TextRequest("generate", "m", prompt="hi", raw=True), TextRequest("generate", "m", prompt="hi")]
)
def test_raw_prompts_and_models_without_a_template_go_to_completions_without_its_limit_of_16_tokens(
    request_: TextRequest,
) -> None:
    sent = to_vllm(request_, model(template=request_.raw))
    assert sent.path == b"/v1/completions"
    chatml = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert (fields(sent)["prompt"], fields(sent)["max_tokens"]) == ("hi" if request_.raw else chatml, 2048)


def test_the_operators_default_options_give_way_to_those_of_the_request() -> None:
    request = chat({"role": "user", "content": "x"}, options={"temperature": 0.0})
    sent = fields(to_vllm(request, model(temperature=0.8, top_k=40)))
    assert (sent["temperature"], sent["top_k"]) == (0.0, 40)


def test_a_last_message_of_the_assistant_is_continued() -> None:
    sent = fields(to_vllm(chat({"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}), model()))
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(
    ("think", "wanted"),
    [
        (None, {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}),
        (True, {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}),
        (False, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        ("high", {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}, "reasoning_effort": "high"}),
    ],
)
def test_a_thinking_model_thinks_unless_told_otherwise(think: Any, wanted: dict[str, Any]) -> None:
    sent = fields(to_vllm(chat({"role": "user", "content": "x"}, think=think), model(capabilities=EVERYTHING)))
    assert {key: sent[key] for key in ("chat_template_kwargs", "reasoning_effort") if key in sent} == wanted


def test_a_plain_model_hears_nothing_of_thinking() -> None:
    sent = fields(to_vllm(chat({"role": "user", "content": "x"}, think=False), model()))
    assert not {"chat_template_kwargs", "reasoning_effort"} & sent.keys()


def test_tool_calls_of_the_history_get_ids_and_arguments_as_text() -> None:
    calls = [{"function": {"name": name, "arguments": {"city": "Oslo"}}} for name in ("a", "b")]
    request = chat(
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": "for b", "tool_name": "b"},
        {"role": "tool", "content": "for a"},
    )
    sent = fields(to_vllm(request, model()))["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["call_0", "call_1"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "a", "arguments": '{"city":"Oslo"}'}
    assert [(message["tool_call_id"], message["content"]) for message in sent[2:]] == [
        ("call_1", "for b"),
        ("call_0", "for a"),
    ]


def test_an_id_that_the_client_sends_is_kept() -> None:
    call = {"id": "call_x", "function": {"name": "a", "arguments": {}}}
    request = chat(
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "r", "tool_call_id": "call_x"}
    )
    sent = fields(to_vllm(request, model()))["messages"]
    assert sent[0]["tool_calls"][0]["id"] == sent[1]["tool_call_id"] == "call_x"


def test_pictures_become_data_uris_of_their_type() -> None:
    png = b"\x89PNG\r\n\x1a\nrest"
    request = chat({"role": "user", "content": "what is it?", "images": [png]})
    content = fields(to_vllm(request, model(capabilities=EVERYTHING)))["messages"][0]["content"]
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    assert content == [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF____WEBPVP8 ", "image/webp"),
        (b"?", "image/jpeg"),
    ],
)
def test_the_type_of_a_picture_is_told_by_its_first_bytes(data: bytes, media_type: str) -> None:
    assert image_type(data) == media_type


def test_logprobs_are_asked_for_in_each_endpoints_way() -> None:
    request = chat({"role": "user", "content": "x"}, logprobs=True, top_logprobs=2)
    sent = fields(to_vllm(request, model()))
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    raw = TextRequest("generate", "m", prompt="x", raw=True, logprobs=True, top_logprobs=2)
    assert fields(to_vllm(raw, model()))["logprobs"] == 2


def test_a_context_goes_on_as_token_ids() -> None:
    sent = from_ids(TextRequest("generate", "m", prompt="x", context=[5]), model(), [1, 5, 6], token_ids=True)
    assert sent.path == b"/v1/completions"
    assert (fields(sent)["prompt"], fields(sent)["return_token_ids"]) == ([1, 5, 6], True)


def test_bodies_for_the_tokenizer() -> None:
    request = TextRequest("generate", "m", prompt="x")
    assert json.loads(tokenize_prompt(request, model())) == {
        "model": "llm",
        "messages": [{"role": "user", "content": "x"}],
    }
    raw = TextRequest("generate", "m", prompt="x", raw=True)
    assert json.loads(tokenize_prompt(raw, model())) == {"model": "llm", "prompt": "x"}
    text = tokenize_text(model(), rb"a\n\"b\"", special=False)
    assert json.loads(text) == {"model": "llm", "prompt": 'a\n"b"', "add_special_tokens": False}


def test_a_model_without_a_chat_template_gets_chatml() -> None:
    bare = model(template=False)
    user = {"role": "user", "content": "hi"}
    assert text_prompt(chat(user), bare) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert (
        text_prompt(chat(user, {"role": "assistant", "content": "he"}), bare)
        == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhe"
    )
    prompt = TextRequest("generate", prompt="hi", system="S")
    assert text_prompt(prompt, bare) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert text_prompt(TextRequest("generate", prompt="hi", raw=True), bare) == "hi"
