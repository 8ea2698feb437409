"""The stand-in for vLLM against a real one: behind either the adapter gives the same answers, beyond what was recorded.

What the tests of this directory prove over the stand-in holds for a real vLLM only as far as this is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.adapter_process import FACTS, AdapterProcess
from tests.contract.recorded import Answer, differences, joined
from tests.contract.vllm_stand_in import VllmStandIn
from tests.contract.wire import post

pytestmark = pytest.mark.engines

MODELS: dict[str, tuple[str, list[str]]] = {
    "plain": ("tiny", ["completion"]),
    "tools": ("tinytool", ["completion", "tools"]),
    "think": ("tinythink", ["completion", "thinking"]),
    "embed": ("tinyembed", ["embedding"]),
}
HI = [{"role": "user", "content": "hi"}]
LONG = "hello " * 500  # 3,001 tokens; the context has 2,048
TALK = [{"role": role, "content": f"{number} {'x' * 300}"} for number in range(8) for role in ("user", "assistant")]
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {
    "id": "call_abcdefgh",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
STOPS = ["one", "two", "three", "four", "lazy"]


def generate(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/api/generate", {"model": "tiny", "prompt": "The sky", "stream": False, **more}


def chat(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/api/chat", {"model": "tiny", "messages": HI, "stream": False, **more}


def openai(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": "tiny", "messages": HI, **more}


def messages(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/messages", {"model": "tiny", "max_tokens": 50, "messages": HI, **more}


def responses(**more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": "tiny", "input": "hi", **more}


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": generate(),
    "generate streamed": generate(stream=True),
    "many stops": chat(model="tinythink", think=False, options={"stop": STOPS}),
    "many stops streamed": chat(model="tinythink", think=False, stream=True, options={"stop": STOPS}),
    "many stops while thinking": chat(model="tinythink", options={"stop": [*STOPS[:4], "ready"]}),
    "stops that overlap": generate(options={"stop": ["quick brown", "brown"]}),
    "a stop that is never whole": generate(stream=True, options={"stop": ["lazy dogs"]}),
    "nothing to predict": generate(options={"num_predict": 0}),
    "no limit": generate(options={"num_predict": -1}),
    "until the context is full": generate(options={"num_predict": -2}),
    "every sampling option": generate(
        options={
            "temperature": 0,
            "top_k": 5,
            "top_p": 0.5,
            "min_p": 0.01,
            "seed": 7,
            "repeat_penalty": 1.1,
            "num_ctx": 99_999,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.1,
            "mirostat": 2,
            "num_gpu": 1,
        }
    ),
    "a long prompt": generate(prompt=LONG),
    "a long prompt streamed": generate(prompt=LONG, stream=True),
    "a long prompt in a small context": generate(prompt="x" * 100, options={"num_ctx": 40}),
    "a long prompt that must not be cut": generate(prompt=LONG, truncate=False),
    "no shift": generate(prompt="x" * 2044, shift=False, options={"num_predict": 20}),
    "raw": generate(raw=True, prompt="The quick"),
    "raw and long": generate(raw=True, prompt=LONG),
    "context": generate(context=[1, 259, 100, 261], prompt="more"),
    "context and system": generate(context=[1, 259, 100, 261], prompt="more", system="Be brief."),
    "suffix": generate(model="tinyfim", prompt="def f(", suffix="return"),
    "suffix streamed": generate(model="tinyfim", prompt="def f(", suffix="return", stream=True),
    "the prompt shown": generate(_debug_render_only=True, system="Be brief."),
    "umlauts and emoji": generate(prompt="Grüße 🦊 日本"),
    "json": generate(format="json"),
    "log probabilities": generate(logprobs=True, top_logprobs=1, options={"num_predict": 3}),
    "log probabilities streamed": generate(stream=True, logprobs=True, options={"num_predict": 3}),
    "chat": chat(),
    "chat streamed": chat(stream=True),
    "a long conversation": chat(messages=[{"role": "system", "content": "S"}, *TALK, *HI]),
    "a long conversation that must not be cut": chat(messages=[*TALK, *HI], truncate=False),
    "a last message that is too long": chat(messages=[{"role": "user", "content": LONG}]),
    "an answer begun": chat(messages=[*HI, {"role": "assistant", "content": " The quick"}]),
    "the conversation shown": chat(_debug_render_only=True, messages=[{"role": "system", "content": "S"}, *HI]),
    "tools": chat(model="tinytool", tools=[WEATHER]),
    "tools streamed": chat(model="tinytool", tools=[WEATHER], stream=True),
    "a result of a tool": chat(
        model="tinytool",
        tools=[WEATHER],
        messages=[
            *HI,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
            },
            {"role": "tool", "content": "sunny", "tool_name": "get_weather"},
        ],
    ),
    "thinking": chat(model="tinythink", think=True),
    "thinking streamed": chat(model="tinythink", think=True, stream=True),
    "not thinking": chat(model="tinythink", think=False),
    "thinking cut in the thoughts": chat(model="tinythink", think=True, options={"num_predict": 3}),
    "thinking with a stop in the answer": chat(model="tinythink", think=True, options={"stop": ["ready"]}),
    "thinking by default": generate(model="tinythink"),
    "thoughts and context": generate(model="tinythink", think=True, stream=True),
    "thinking where the model cannot": chat(think=True),
    "tools where the model cannot": chat(tools=[WEATHER]),
    "embed": ("/api/embed", {"model": "tinyembed", "input": ["hello", "World 7"]}),
    "embed cut": ("/api/embed", {"model": "tinyembed", "input": LONG}),
    "embed not cut": ("/api/embed", {"model": "tinyembed", "input": LONG, "truncate": False}),
    "embed smaller": ("/api/embed", {"model": "tinyembed", "input": "hello", "dimensions": 8}),
    "embeddings": ("/api/embeddings", {"model": "tinyembed", "prompt": "hello"}),
    "embed with a model that does not": ("/api/embed", {"model": "tiny", "input": "hello"}),
    "generate with a model that embeds": generate(model="tinyembed"),
    "openai": openai(),
    "openai streamed": openai(stream=True, stream_options={"include_usage": True}),
    "openai tools": openai(model="tinytool", tools=[WEATHER]),
    "openai tools and a result": openai(
        model="tinytool",
        messages=[
            *HI,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_abcdefgh", "content": "sunny"},
        ],
    ),
    "openai reasoning": openai(model="tinythink", reasoning_effort="high"),
    "openai without reasoning": openai(model="tinythink", reasoning_effort="none"),
    "openai stops": openai(model="tinythink", reasoning_effort="none", stop=STOPS),
    "openai stops streamed": openai(model="tinythink", reasoning_effort="none", stop=STOPS, stream=True),
    "openai log probabilities": openai(logprobs=True, top_logprobs=1, max_tokens=2),
    "openai long": openai(messages=[*TALK, *HI]),
    "openai too long": openai(messages=[{"role": "user", "content": LONG}]),
    "openai completions": ("/v1/completions", {"model": "tiny", "prompt": "The sky", "max_tokens": 3}),
    "openai embeddings": ("/v1/embeddings", {"model": "tinyembed", "input": ["a", "b"], "encoding_format": "base64"}),
    "anthropic": messages(system="S"),
    "anthropic tools": messages(
        model="tinytool", tools=[{"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}]
    ),
    "anthropic thinking": messages(
        model="tinythink", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}
    ),
    "anthropic stop": messages(stop_sequences=["lazy"]),
    "responses": responses(instructions="S"),
    "responses tools": responses(model="tinytool", tools=[{"type": "function", **WEATHER["function"]}]),  # type: ignore[dict-item]
    "responses reasoning": responses(model="tinythink", reasoning={"effort": "high"}),
}


@pytest.fixture(scope="module")
def ports(real_urls: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """An adapter over stand-ins and one over real vLLMs."""
    with ExitStack() as stack:
        stand_ins = {variant: stack.enter_context(VllmStandIn(variant)).url for variant in MODELS}
        found = []
        for urls in (stand_ins, real_urls):
            tables: list[Mapping[str, Any]] = [
                {**FACTS, "url": urls[variant], "aliases": [name], "capabilities": capabilities}
                for variant, (name, capabilities) in MODELS.items()
            ]
            template = "<|fim_pre|>{prefix}<|fim_suf|>{suffix}<|fim_mid|>"
            tables.append({**FACTS, "url": urls["plain"], "aliases": ["tinyfim"], "fim_template": template})
            directory = tmp_path_factory.mktemp("adapter")
            adapter = stack.enter_context(AdapterProcess(directory, vllm=tables[0], models=tables[1:]))
            found.append(adapter.port)
        yield found[0], found[1]


def without_progress(answer: Answer) -> Answer:
    """Where the adapter ends an answer, how far vLLM is by then is a matter of chance."""
    body = re.sub(r'"(eval_count|completion_tokens|total_tokens)":[1-9][0-9]*', r'"\1":"<n>"', answer.body)
    return replace(answer, body=body)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_the_same_behind_either(ports: tuple[int, int], name: str) -> None:
    path, body = REQUESTS[name]
    body = {**body, "options": {"temperature": 0, **body.get("options", {})}} if path.startswith("/api/") else body
    stand_in, real = (joined(post(port, path, body)) for port in ports)
    if "stops" in name:
        stand_in, real = without_progress(stand_in), without_progress(real)
    assert differences(stand_in, real, chunks=False) == []
