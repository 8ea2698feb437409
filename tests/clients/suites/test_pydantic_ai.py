"""Pydantic AI, which speaks OpenAI's API to Ollama."""

from __future__ import annotations

from conftest import FOX, Models
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.ollama import OllamaProvider


async def test_an_agent_answers_and_streams(url: str, models: Models) -> None:
    agent = Agent(OpenAIChatModel(models.text, provider=OllamaProvider(base_url=f"{url}/v1")))
    assert (await agent.run("hi")).output.strip() == FOX
    async with agent.run_stream("hi") as stream:
        assert (await stream.get_output()).strip() == FOX
