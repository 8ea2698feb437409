"""Haystack: ollama-haystack's generators and embedders."""

from __future__ import annotations

from conftest import FOX, Models
from haystack import Document
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack_integrations.components.embedders.ollama import OllamaDocumentEmbedder, OllamaTextEmbedder
from haystack_integrations.components.generators.ollama import OllamaChatGenerator


def test_the_generator(url: str, models: Models) -> None:
    (reply,) = OllamaChatGenerator(model=models.text, url=url).run([ChatMessage.from_user("hi")])["replies"]
    assert reply.text.strip() == FOX
    assert reply.meta["usage"]["completion_tokens"] > 0


def test_a_stream(url: str, models: Models) -> None:
    pieces: list[str] = []
    generator = OllamaChatGenerator(
        model=models.text, url=url, streaming_callback=lambda chunk: pieces.append(chunk.content)
    )
    generator.run([ChatMessage.from_user("hi")])
    assert "".join(pieces).strip() == FOX


def test_tools(url: str, models: Models) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = Tool("get_weather", "The weather of a city", parameters, lambda city: f"sunny in {city}")
    generator = OllamaChatGenerator(model=models.tools, url=url, tools=[weather])
    (reply,) = generator.run([ChatMessage.from_user("The weather in Paris?")])["replies"]
    assert [(call.tool_name, call.arguments) for call in reply.tool_calls] == [("get_weather", {"city": "Paris"})]


def test_the_embedders(url: str, models: Models) -> None:
    assert len(OllamaTextEmbedder(model=models.embedding, url=url).run("hello")["embedding"]) == 384
    documents = [Document(content="hello"), Document(content="world")]
    found = OllamaDocumentEmbedder(model=models.embedding, url=url).run(documents)["documents"]
    assert [len(document.embedding) for document in found] == [384, 384]
