"""`openai` of PyPI, on the routes that Ollama has for it."""

from __future__ import annotations

import json

import openai
import pytest
from conftest import FOX, HI, WEATHER, Models
from pydantic import BaseModel


class Answer(BaseModel):
    answer: int


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="ollama", max_retries=0)


def test_chat(client: openai.OpenAI, models: Models) -> None:
    answer = client.chat.completions.create(model=models.text, messages=HI)
    assert answer.choices[0].message.content.strip() == FOX
    assert (answer.model, answer.choices[0].finish_reason) == (models.text, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streams(client: openai.OpenAI, models: Models) -> None:
    chunks = list(
        client.chat.completions.create(
            model=models.text, messages=HI, stream=True, stream_options={"include_usage": True}, max_tokens=3
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == " The quick brown"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 3


def test_tools_there_and_back(client: openai.OpenAI, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = client.chat.completions.create(model=models.tools, messages=messages, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    asked = first.choices[0].message.model_dump(exclude_none=True)
    second = client.chat.completions.create(model=models.tools, messages=[*messages, asked, result])
    assert second.choices[0].message.content


def test_streamed_tools(client: openai.OpenAI, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    chunks = client.chat.completions.create(model=models.tools, messages=messages, tools=[WEATHER], stream=True)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Paris"}


def test_a_schema_is_parsed(client: openai.OpenAI, models: Models) -> None:
    answer = client.chat.completions.parse(model=models.text, messages=HI, response_format=Answer)
    assert isinstance(answer.choices[0].message.parsed.answer, int)


def test_completions(client: openai.OpenAI, models: Models) -> None:
    answer = client.completions.create(model=models.text, prompt="The sky", max_tokens=2)
    assert answer.choices[0].text == " The quick"
    parts = client.completions.create(model=models.text, prompt="The sky", max_tokens=2, stream=True)
    assert "".join(part.choices[0].text for part in parts) == " The quick"


def test_embeddings_as_numbers_and_as_base64(client: openai.OpenAI, models: Models) -> None:
    coded = client.embeddings.create(model=models.embedding, input=["hello", "world"])  # asks for base64
    plain = client.embeddings.create(model=models.embedding, input="hello", encoding_format="float")
    assert [len(entry.embedding) for entry in coded.data] == [384, 384]
    assert plain.data[0].embedding[:4] == pytest.approx(coded.data[0].embedding[:4], abs=1e-6)


def test_responses(client: openai.OpenAI, models: Models) -> None:
    assert client.responses.create(model=models.text, input="hi").output_text.strip() == FOX
    with client.responses.stream(model=models.text, input="hi") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text.strip() == FOX


def test_models(client: openai.OpenAI, models: Models) -> None:
    names = {model.id for model in client.models.list()}
    assert {models.text, models.vision} <= names
    assert client.models.retrieve(models.text).id == models.text


def test_errors_are_openais(client: openai.OpenAI, models: Models) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="no-such-model", messages=HI)
    assert raised.value.body["message"] == "model 'no-such-model' not found"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=models.text, messages=[])


async def test_the_asynchronous_client(url: str, models: Models) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="ollama") as client:
        stream = await client.chat.completions.create(model=models.text, messages=HI, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.strip() == FOX
