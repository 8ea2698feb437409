"""LlamaIndex: llama-index-llms-ollama and llama-index-embeddings-ollama."""

from __future__ import annotations

import pytest
from conftest import FOX, Models
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel


class Answer(BaseModel):
    """An answer."""

    answer: int


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def llm(url: str, models: Models) -> Ollama:
    return Ollama(model=models.text, base_url=url, request_timeout=60)


def test_the_context_is_asked_for(llm: Ollama) -> None:
    """It looks into /api/show for it and sends it back as num_ctx."""
    assert llm.get_context_window() == 2048
    assert llm.complete("hi").text.strip() == FOX


async def test_chat_and_streams(llm: Ollama) -> None:
    message = ChatMessage(role="user", content="hi")
    assert llm.chat([message]).message.content.strip() == FOX
    assert "".join(part.delta or "" for part in llm.stream_chat([message])).strip() == FOX
    assert list(llm.stream_complete("hi"))[-1].text.strip() == FOX
    assert "".join([part.delta or "" async for part in await llm.astream_chat([message])]).strip() == FOX


def test_tools(url: str, models: Models) -> None:
    llm = Ollama(model=models.tools, base_url=url, request_timeout=60)
    answer = llm.chat_with_tools([FunctionTool.from_defaults(get_weather)], user_msg="The weather in Paris?")
    calls = llm.get_tool_calls_from_response(answer)
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("get_weather", {"city": "Paris"})]


def test_a_schema(llm: Ollama) -> None:
    answer = llm.as_structured_llm(Answer).chat([ChatMessage(role="user", content="What is the answer?")])
    assert isinstance(answer.raw.answer, int)


def test_thinking(url: str, models: Models) -> None:
    llm = Ollama(model=models.thinking, base_url=url, request_timeout=60, thinking=True)
    assert llm.chat([ChatMessage(role="user", content="hi")]).message.content == "Answer is ready!"


async def test_embeddings(url: str, models: Models) -> None:
    embedding = OllamaEmbedding(model_name=models.embedding, base_url=url)
    assert len(embedding.get_text_embedding("hello")) == 384
    assert [len(vector) for vector in embedding.get_text_embedding_batch(["hello", "world"])] == [384, 384]
    assert len(await embedding.aget_query_embedding("hello")) == 384
