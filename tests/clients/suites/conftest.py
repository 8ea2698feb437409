"""What every suite knows: where the adapter is, and its models."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

FOX = "The quick brown fox jumps over the lazy dog."
HI = [{"role": "user", "content": "hi"}]
# A tool as OpenAI's clients describe one.
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True)
class Models:
    """Names of the models, by what they can do."""

    text: str = "llama2:7b"
    tools: str = "tinytool"  # calls get_weather(city="Paris") whenever it may
    thinking: str = "tinythink"  # thinks "Let me ponder", then says "Answer is ready!"
    embedding: str = "tinyembed"  # 384 dimensions
    vision: str = "llava:7b"  # passed on to the stand-in for Ollama Vision


@pytest.fixture(scope="session")
def url() -> str:
    """The adapter."""
    return os.environ["LLM_ADAPTER_URL"]


@pytest.fixture(scope="session")
def models() -> Models:
    return Models()


@pytest.fixture(autouse=True)
def default_host(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that look for OLLAMA_HOST find the adapter; nothing reports home."""
    monkeypatch.setenv("OLLAMA_HOST", url)
    for name in ("HAYSTACK_TELEMETRY_ENABLED", "LITELLM_TELEMETRY"):
        monkeypatch.setenv(name, "False")
