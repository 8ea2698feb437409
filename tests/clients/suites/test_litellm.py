"""litellm's library, with both of its ways to Ollama."""

from __future__ import annotations

import json

import litellm
import pytest
from conftest import FOX, HI, WEATHER, Models


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
def test_both_providers_whole_and_streamed(url: str, models: Models, provider: str) -> None:
    name = f"{provider}/{models.text}"
    answer = litellm.completion(model=name, messages=HI, api_base=url)
    assert answer.choices[0].message.content.strip() == FOX
    assert answer.usage.completion_tokens > 0
    parts = litellm.completion(model=name, messages=HI, api_base=url, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts).strip() == FOX


def test_tools(url: str, models: Models) -> None:
    answer = litellm.completion(model=f"ollama_chat/{models.tools}", messages=HI, tools=[WEATHER], api_base=url)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})


def test_embeddings(url: str, models: Models) -> None:
    answer = litellm.embedding(model=f"ollama/{models.embedding}", input=["hello", "world"], api_base=url)
    assert [len(entry["embedding"]) for entry in answer.data] == [384, 384]
