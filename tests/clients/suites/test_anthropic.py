"""`anthropic` of PyPI, on /v1/messages."""

from __future__ import annotations

import anthropic
import pytest
from conftest import FOX, HI, Models

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="ollama", max_retries=0)


def test_a_message(client: anthropic.Anthropic, models: Models) -> None:
    answer = client.messages.create(model=models.text, max_tokens=100, messages=HI, system="Be brief.")
    assert answer.content[0].text.strip() == FOX
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert client.messages.create(model=models.text, max_tokens=2, messages=HI).stop_reason == "max_tokens"


def test_a_stream(client: anthropic.Anthropic, models: Models) -> None:
    with client.messages.stream(model=models.text, max_tokens=100, messages=HI) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces).strip() == final.content[0].text.strip() == FOX


def test_tools_there_and_back(client: anthropic.Anthropic, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = client.messages.create(model=models.tools, max_tokens=100, messages=messages, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    use = next(block for block in first.content if block.type == "tool_use")
    assert (use.name, use.input) == ("get_weather", {"city": "Paris"})
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]}
    asked = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
    second = client.messages.create(model=models.tools, max_tokens=100, messages=[*messages, asked, result])
    assert second.content[0].text


def test_a_streamed_call(client: anthropic.Anthropic, models: Models) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    with client.messages.stream(model=models.tools, max_tokens=100, messages=messages, tools=[WEATHER]) as stream:
        final = stream.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == [{"city": "Paris"}]


def test_thinking(client: anthropic.Anthropic, models: Models) -> None:
    answer = client.messages.create(
        model=models.thinking, max_tokens=2000, messages=HI, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking == "Let me ponder"


def test_errors_are_anthropics(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(model="no-such-model", max_tokens=10, messages=HI)
    assert raised.value.body["error"]["type"] == "not_found_error"
