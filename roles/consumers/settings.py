"""What the services that use the host are told: where the Ollama API is."""

from __future__ import annotations

from pydantic import Field

from roles.settings import Settings

URL = r"^https?://[^\s/:]+(:\d+)?/?$"


class ConsumersSettings(Settings):
    """Key `consumers` of the inventory. The defaults follow the adapter's and the vision server's ports."""

    enabled: bool = Field(True, description="write /etc/llm/consumers.env for compose projects on the host")
    ollama_url: str | None = Field(None, pattern=URL, description="OLLAMA_URL of the text services")
    vision_ollama_url: str | None = Field(None, pattern=URL, description="VISION_OLLAMA_URL of the image services")
