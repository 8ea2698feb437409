"""What the services that use the host are told: where the Ollama API is, and which of them run on the host itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roles.settings import Settings

URL = r"^https?://[^\s/:]+(:\d+)?/?$"
_TCP = r"tcp://(\[[0-9a-fA-F:]+\]|[^\s/:\[\]]+):\d{1,5}"
HEALTH_URL = rf"^(https?://[^\s/]+(/\S*)?|{_TCP})$"
# In Docker Compose's own order: of the first group one, and of the second one beside it.
FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")


class Consumer(Settings):
    """A service of the compose project, as it is called there."""

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", description="of the service in the compose project")
    uses: Literal["text", "vision", "both", "nothing"] = Field(
        description="the server that it asks: OLLAMA_URL and OLLAMA_MODEL, VISION_OLLAMA_URL and VISION_MODEL, both, or none"
    )
    port: int = Field(ge=1, le=65535, description="on the host")
    health: str = Field(
        "/health", pattern=r"^(/\S*)?$", description='answers 200 when the service is well; "": the port is open'
    )
    health_url: str | None = Field(
        None,
        pattern=HEALTH_URL,
        description="of a service that runs elsewhere, or in no compose project: verify asks this from the host; http(s)://… "
        "answers 200, tcp://HOST:PORT is open",
    )


# The thirteen services of the original system.
ORIGINAL = tuple(
    Consumer(name=name, uses=uses, port=port, health=health)
    for name, uses, port, health in (
        ("notes-service", "text", 8100, "/health"),
        ("rag-service", "text", 8102, "/health"),
        ("ner-service", "text", 8108, "/health"),
        ("doc-processor", "vision", 8101, "/health"),
        ("ocr-service", "vision", 8104, "/health"),
        ("client-rag", "vision", 8105, "/health"),
        ("upload-service", "nothing", 8103, "/health"),
        ("frontend", "nothing", 3000, "/"),
        ("chromadb", "nothing", 8005, ""),
        ("neo4j", "nothing", 7474, ""),
        ("postgres", "nothing", 5432, ""),
        ("redis", "nothing", 6379, ""),
        ("n8n", "nothing", 5678, ""),
    )
)


class ConsumersSettings(Settings):
    """Key `consumers` of the inventory. The defaults follow the adapter's and the vision server's ports."""

    enabled: bool = Field(True, description="write /etc/llm/consumers.env for compose projects on the host")
    ollama_url: str | None = Field(None, pattern=URL, description="OLLAMA_URL of the text services")
    vision_ollama_url: str | None = Field(None, pattern=URL, description="VISION_OLLAMA_URL of the image services")
    project: str | None = Field(
        None, pattern=r"^/\S+$", description="folder of the compose project on the host whose services are pointed here"
    )
    files: tuple[str, ...] = Field(
        (), description="its compose files, from that folder; default: those that `docker compose` takes by itself"
    )
    services: tuple[Consumer, ...] = Field(
        ORIGINAL, description="the services; those that the project does not have are passed over"
    )
    health_timeout_s: int = Field(
        120, ge=1, le=3600, description="how long a service that was started anew may take until it is well"
    )

    @property
    def wanted_files(self) -> tuple[tuple[str, ...], ...]:
        """Paths on the host, in groups: of each group one must be there. None without a project."""
        if self.project is None:
            return ()
        below = [tuple(f"{self.project}/{name}" for name in FILES)]
        named = [(name if name.startswith("/") else f"{self.project}/{name}",) for name in self.files]
        return tuple(named or below)
