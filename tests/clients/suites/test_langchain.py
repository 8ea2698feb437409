"""langchain-ollama: what its users do, and LangChain's own standard integration tests."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import FOX, Models
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from pydantic import BaseModel


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


class Answer(BaseModel):
    """An answer."""

    answer: int


def test_text_and_its_metadata(url: str, models: Models) -> None:
    answer = ChatOllama(model=models.text, base_url=url).invoke("hi")
    assert answer.content.strip() == FOX
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["done_reason"] == "stop"


async def test_streams(url: str, models: Models) -> None:
    llm = ChatOllama(model=models.text, base_url=url)
    assert "".join(chunk.content for chunk in llm.stream("hi")).strip() == FOX
    assert "".join([chunk.content async for chunk in llm.astream("hi")]).strip() == FOX
    assert "".join(OllamaLLM(model=models.text, base_url=url).stream("hi")).strip() == FOX


def test_the_model_is_looked_for_at_the_start(url: str, models: Models) -> None:
    ChatOllama(model=models.text, base_url=url, validate_model_on_init=True)
    with pytest.raises(ValueError, match="not found"):
        ChatOllama(model="no-such-model", base_url=url, validate_model_on_init=True)


def test_tools(url: str, models: Models) -> None:
    answer = ChatOllama(model=models.tools, base_url=url).bind_tools([get_weather]).invoke("The weather in Paris?")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("get_weather", {"city": "Paris"})]


def test_a_schema(url: str, models: Models) -> None:
    llm = ChatOllama(model=models.text, base_url=url).with_structured_output(Answer, method="json_schema")
    assert isinstance(llm.invoke("What is the answer?").answer, int)


def test_reasoning(url: str, models: Models) -> None:
    answer = ChatOllama(model=models.thinking, base_url=url, reasoning=True).invoke("hi")
    assert answer.additional_kwargs["reasoning_content"] == "Let me ponder"
    assert answer.content == "Answer is ready!"


class TestStandardChat(ChatModelIntegrationTests):
    """LangChain's own tests of a chat model."""

    @property
    def chat_model_class(self) -> type[ChatOllama]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": Models.text}

    @property
    def has_tool_calling(self) -> bool:
        # The miniature model calls one function with one argument, whatever it is offered; tools are tested above.
        return False

    @property
    def has_structured_output(self) -> bool:
        return False  # likewise: the tests want a joke with a setup and a punchline

    @property
    def supports_json_mode(self) -> bool:
        return False


class TestStandardEmbeddings(EmbeddingsIntegrationTests):
    """LangChain's own tests of embeddings."""

    @property
    def embeddings_class(self) -> type[OllamaEmbeddings]:
        return OllamaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": Models.embedding}
