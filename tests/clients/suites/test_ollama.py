"""`ollama` of PyPI: every method, synchronous and asynchronous."""

from __future__ import annotations

import ollama
import pytest
from conftest import FOX, Models
from pydantic import BaseModel

PIXEL = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
      city: its name
    """
    return f"sunny in {city}"


class Answer(BaseModel):
    answer: int


@pytest.fixture
def client(url: str) -> ollama.Client:
    return ollama.Client(host=url)


def test_generate_and_its_metrics(client: ollama.Client, models: Models) -> None:
    answer = client.generate(models.text, "The sky", system="Be brief.")
    assert answer.response.strip() == FOX
    assert answer.done_reason == "stop"
    for field in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
                  "eval_duration"):  # fmt: skip
        assert answer[field] > 0, field
    assert answer.context


def test_generate_streams_and_goes_on_with_context(client: ollama.Client, models: Models) -> None:
    parts = list(client.generate(models.text, "The sky", stream=True, options={"num_predict": 5}))
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(part.response for part in parts) == " The quick brown fox jumps"
    again = client.generate(models.text, "more", context=parts[-1].context, options={"num_predict": 2})
    assert again.prompt_eval_count > parts[-1].prompt_eval_count


def test_chat_calls_a_python_function_and_takes_its_result(client: ollama.Client, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = client.chat(models.tools, messages=messages, tools=[get_weather])
    (call,) = first.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    result = get_weather(**call.function.arguments)
    second = client.chat(
        models.tools,
        messages=[*messages, first.message, {"role": "tool", "content": result, "tool_name": "get_weather"}],
    )
    assert second.message.content
    assert not second.message.tool_calls


def test_a_streamed_call_comes_whole(client: ollama.Client, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    parts = list(client.chat(models.tools, messages=messages, tools=[get_weather], stream=True))
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [{"city": "Paris"}]


def test_thoughts_come_apart_from_the_text(client: ollama.Client, models: Models) -> None:
    messages = [{"role": "user", "content": "hi"}]
    answer = client.chat(models.thinking, messages=messages, think=True)
    assert (answer.message.thinking, answer.message.content) == ("Let me ponder", "Answer is ready!")
    parts = list(client.chat(models.thinking, messages=messages, think=True, stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == "Let me ponder"
    assert "".join(part.message.content or "" for part in parts) == "Answer is ready!"
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(models.text, messages=messages, think=True)


def test_a_schema_is_kept(client: ollama.Client, models: Models) -> None:
    messages = [{"role": "user", "content": "What is the answer?"}]
    answer = client.chat(models.text, messages=messages, format=Answer.model_json_schema())
    assert isinstance(Answer.model_validate_json(answer.message.content).answer, int)


def test_log_probabilities(client: ollama.Client, models: Models) -> None:
    answer = client.generate(models.text, "The sky", logprobs=True, top_logprobs=2, options={"num_predict": 2})
    assert [entry.token for entry in answer.logprobs] == [" The", " quick"]
    assert all(len(entry.top_logprobs) == 2 for entry in answer.logprobs)


def test_embed_and_the_older_embeddings(client: ollama.Client, models: Models) -> None:
    answer = client.embed(models.embedding, ["hello", "world"])
    assert [len(vector) for vector in answer.embeddings] == [384, 384]
    assert sum(number * number for number in answer.embeddings[0]) == pytest.approx(1, abs=1e-5)
    assert len(client.embed(models.embedding, "hello", dimensions=16).embeddings[0]) == 16
    assert client.embeddings(models.embedding, "hello").embedding[:4] == pytest.approx(
        answer.embeddings[0][:4], abs=1e-6
    )


def test_a_picture_goes_to_the_model_that_sees(client: ollama.Client, models: Models) -> None:
    assert client.generate(models.vision, "What is this?", images=[PIXEL], stream=False).response


def test_the_listings(client: ollama.Client, models: Models) -> None:
    names = {model.model for model in client.list().models}
    assert {models.text, f"{models.tools}:latest", models.vision} <= names
    shown = client.show(models.tools)
    assert "tools" in shown.capabilities
    assert shown.modelinfo["llama.context_length"] == 2048
    client.chat(models.text, messages=[{"role": "user", "content": "hi"}], keep_alive="10m")
    running = {model.model: model for model in client.ps().models}
    assert running[models.text].expires_at.tzinfo is not None
    client.generate(models.text, keep_alive=0)
    assert models.text not in {model.model for model in client.ps().models}


def test_models_are_made_copied_pulled_and_deleted(client: ollama.Client, models: Models) -> None:
    assert client.create("suite-child", from_=models.text, system="Be brief.", parameters={"num_predict": 2}).status
    try:
        assert client.generate("suite-child", "hi").eval_count == 2
        assert client.copy("suite-child", "suite-copy").status == "success"
        assert client.delete("suite-copy").status == "success"
    finally:
        client.delete("suite-child")
    assert [step.status for step in client.pull(models.text, stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError) as raised:
        client.generate("no-such-model", "hi")
    assert (raised.value.status_code, raised.value.error) == (404, "model 'no-such-model' not found")


async def test_the_asynchronous_client(url: str, models: Models) -> None:
    client = ollama.AsyncClient(host=url)
    text = ""
    async for part in await client.chat(models.text, messages=[{"role": "user", "content": "hi"}], stream=True):
        text += part.message.content
    assert text.strip() == FOX
    assert len((await client.embed(models.embedding, "hello")).embeddings[0]) == 384
    assert (await client.list()).models
