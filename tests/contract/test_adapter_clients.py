"""The unmodified `ollama` client of PyPI against a running adapter."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.ollama_stand_in import OllamaStandIn
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn

ollama = pytest.importorskip("ollama")

FOX = " The quick brown fox jumps over the lazy dog."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(adapter: AdapterProcess) -> Any:
    with_client = ollama.Client(host=f"http://127.0.0.1:{adapter.port}")
    yield with_client
    with_client._client.close()


def test_generate_answers_whole_and_streamed_alike(client: Any) -> None:
    whole = client.generate("llama2", "The sky")
    assert (whole.response, whole.done_reason, whole.eval_count, whole.prompt_eval_count) == (FOX, "stop", 11, 10)
    parts = list(client.generate("llama2", "The sky", stream=True))
    assert "".join(part.response for part in parts) == FOX
    assert len(parts) == 11
    assert parts[-1].context == whole.context


def test_context_goes_on_where_the_last_answer_ended(client: Any) -> None:
    first = client.generate("llama2", "The sky", options={"num_predict": 5})
    second = client.generate("llama2", "more", context=first.context, options={"num_predict": 5})
    assert second.response == " The quick brown fox jumps"
    assert second.prompt_eval_count == 42  # recorded, Ollama 0.32.15
    assert second.context[: len(first.context)] == first.context


def test_chat_streams_token_by_token_and_says_once_that_it_is_done(client: Any) -> None:
    parts = list(client.chat("llama3.2", [{"role": "user", "content": "hi"}], stream=True, options={"num_predict": 3}))
    assert [part.message.content for part in parts] == [" The", " quick", " brown", ""]
    assert [part.done for part in parts] == [False, False, False, True]
    last = parts[-1]
    assert last.done_reason == "length"
    assert all((last.total_duration, last.load_duration, last.prompt_eval_duration, last.eval_duration))


def test_the_async_client_streams_too(adapter: AdapterProcess) -> None:
    async def chat() -> str:
        client = ollama.AsyncClient(host=f"http://127.0.0.1:{adapter.port}")
        text = ""
        async for part in await client.chat("llama2", [{"role": "user", "content": "hi"}], stream=True):
            text += part.message.content
        await client._client.aclose()
        return text

    assert asyncio.run(chat()) == FOX


def test_a_schema_constrains_the_answer(client: Any) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    assert client.chat("llama2", [{"role": "user", "content": "x"}], format=schema).message.content == '{"answer": 42}'
    assert client.generate("llama2", "x", format="json").response == '{"answer": 42}'


def test_stop_strings_end_the_answer(client: Any) -> None:
    answer = client.generate("llama2", "The sky", options={"stop": [" fox"]})
    assert (answer.response, answer.done_reason) == (" The quick brown", "stop")


def test_a_tool_call_round_trip(start_adapter: Start) -> None:
    with VllmStandIn("tools") as vllm:
        adapter = start_adapter(vllm={"url": vllm.url, "capabilities": ["completion", "tools"]})
        client = ollama.Client(host=f"http://127.0.0.1:{adapter.port}")
        messages: list[Any] = [{"role": "user", "content": "weather?"}]
        for stream in (False, True):
            answer = client.chat("llama2", messages, tools=[WEATHER], stream=stream)
            parts = list(answer) if stream else [answer]
            calls = [call for part in parts for call in part.message.tool_calls or ()]
            assert [(call.function.name, call.function.arguments) for call in calls] == [
                ("get_weather", {"city": "Paris"})
            ]
            assert parts[-1].done_reason == "stop"
        messages += [parts[0].message, {"role": "tool", "content": "sunny", "tool_name": "get_weather"}]
        assert client.chat("llama2", messages).message.content
        sent = vllm.received[-1].json["messages"]
        assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]
        client._client.close()


def test_thinking_can_be_had_and_turned_off(start_adapter: Start) -> None:
    with VllmStandIn("think") as vllm:
        adapter = start_adapter(vllm={"url": vllm.url, "capabilities": ["completion", "thinking"]})
        client = ollama.Client(host=f"http://127.0.0.1:{adapter.port}")
        ask = [{"role": "user", "content": "hi"}]
        on = client.chat("llama2", ask, think=True).message
        assert (on.thinking, on.content) == ("Let me ponder", "Answer is ready!")
        off = client.chat("llama2", ask, think=False).message
        assert (off.thinking, off.content) == (None, FOX)
        parts = list(client.chat("llama2", ask, think="high", stream=True))
        assert "".join(part.message.thinking or "" for part in parts) == "Let me ponder"
        client._client.close()


def test_models_of_both_servers_are_listed(client: Any) -> None:
    listed = client.list().models
    assert [model.model for model in listed] == ["llava:7b", "llama2:7b", "llama2:latest", "llama3.2:latest"]
    assert len({model.digest for model in listed}) == 4
    assert client.show("llama2").modelinfo["llama.context_length"] == 2048


def test_a_used_model_is_listed_as_loaded_until_it_is_unloaded(client: Any, vision: OllamaStandIn) -> None:
    vision.models = []
    client.generate("llama2", "hi", keep_alive="10m")
    assert "llama2:latest" in [model.model for model in client.ps().models]
    assert client.generate("llama2", keep_alive=0).done_reason == "unload"
    assert "llama2:latest" not in [model.model for model in client.ps().models]
    assert client.generate("llama2").done_reason == "load"
    assert "llama2:latest" in [model.model for model in client.ps().models]


def test_a_model_that_is_served_can_be_pulled_and_another_cannot(client: Any) -> None:
    assert client.pull("llama2").status == "success"
    assert [part.status for part in client.pull("llama2", stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        client.pull("nosuch")


def test_the_other_server_answers_for_its_models(client: Any, vision: OllamaStandIn) -> None:
    assert "".join(part.response for part in client.generate("llava:7b", "x", stream=True)) == "a caf\u00e9"
    vision.whole = b'{"model":"nomic-embed-text","embeddings":[[0.5,0.25]],"total_duration":1}'
    assert client.embed("nomic-embed-text", "x").embeddings == [[0.5, 0.25]]
    vision.whole = b'{"embedding":[0.5]}'
    assert client.embeddings("nomic-embed-text", "x").embedding == [0.5]


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        (lambda client: client.generate("nosuch", "x"), 404, "model 'nosuch' not found"),
        (lambda client: client.embed("nosuch", "x"), 404, 'model "nosuch" not found, try pulling it first'),
        (lambda client: client.show("nosuch"), 404, "model 'nosuch:latest' not found"),
        (lambda client: client.chat("llama2", [{"role": "user", "content": "x"}], think=True), 400,
         '"llama2" does not support thinking'),
        (lambda client: client.chat("llama2", [{"role": "user", "content": "x"}], tools=[WEATHER]), 400,
         "registry.ollama.ai/library/llama2:latest does not support tools"),
        (lambda client: client.generate("llama2", "x", options={"num_ctx": "big"}), 500,
         'option "num_ctx" must be of type integer'),
    ],
)  # fmt: skip
def test_an_error_has_ollamas_status_and_text(client: Any, call: Any, status: int, message: str) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        call(client)
    assert (caught.value.status_code, caught.value.error) == (status, message)


def test_an_error_in_mid_stream_reaches_the_client(client: Any, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(error_after=3)
    parts = []
    with pytest.raises(ollama.ResponseError, match="EngineCore died"):
        parts.extend(client.generate("llama2", "x", stream=True))
    assert parts == [] or not parts[-1].done


def test_options_beside_options_reach_vllm(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    from tests.contract.wire import post

    post(adapter.port, "/api/generate", {"model": "llama2", "prompt": "x", "temperature": 0.3, "num_predict": 2})
    sent = next(request.json for request in vllm.received if request.path == "/v1/chat/completions")
    assert (sent["temperature"], sent["max_tokens"]) == (0.3, 2)
