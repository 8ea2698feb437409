"""Semantic Kernel: chat, text, and embeddings on the older route."""

from __future__ import annotations

from conftest import FOX, Models
from semantic_kernel.connectors.ai.ollama import (
    OllamaChatCompletion,
    OllamaChatPromptExecutionSettings,
    OllamaEmbeddingPromptExecutionSettings,
    OllamaTextCompletion,
    OllamaTextEmbedding,
    OllamaTextPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory


async def test_chat_whole_and_streamed(url: str, models: Models) -> None:
    service = OllamaChatCompletion(ai_model_id=models.text, host=url)
    history = ChatHistory()
    history.add_user_message("hi")
    settings = OllamaChatPromptExecutionSettings()
    assert str(await service.get_chat_message_content(history, settings)).strip() == FOX
    parts = [str(part) async for part in service.get_streaming_chat_message_content(history, settings)]
    assert "".join(parts).strip() == FOX


async def test_text(url: str, models: Models) -> None:
    service = OllamaTextCompletion(ai_model_id=models.text, host=url)
    assert str(await service.get_text_content("hi", OllamaTextPromptExecutionSettings())).strip() == FOX


async def test_embeddings(url: str, models: Models) -> None:
    service = OllamaTextEmbedding(ai_model_id=models.embedding, host=url)
    vectors = await service.generate_embeddings(["hello", "world"], OllamaEmbeddingPromptExecutionSettings())
    assert [len(vector) for vector in vectors] == [384, 384]
