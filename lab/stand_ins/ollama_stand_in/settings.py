"""Ollama's environment variables, as far as this stand-in has a use for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timezone
from pathlib import Path

# `datetime.UTC` came with Python 3.11; a host with Ubuntu 22.04 has 3.10.
UTC = timezone.utc
DEFAULT_PORT = 11434
DEFAULT_CONTEXT = 4096  # of a card below 24 GiB, or none


@dataclass(frozen=True)
class Settings:
    """What OLLAMA_* says, with Ollama's defaults."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    models: Path = Path("~/.ollama/models")
    keep_alive: str = "5m"
    context_length: int = DEFAULT_CONTEXT
    max_loaded: int = 3
    noprune: bool = False

    @property
    def url(self) -> str:
        """Where the client part finds the server; a server on all addresses is asked on loopback."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Empty variables count as unset; OLLAMA_HOST may be host, :port, host:port or a URL."""
    host, port = _host_of(environment.get("OLLAMA_HOST", "").strip().strip("\"'"))
    return Settings(
        host=host,
        port=port,
        models=Path(environment.get("OLLAMA_MODELS") or Settings.models).expanduser(),
        keep_alive=environment.get("OLLAMA_KEEP_ALIVE") or Settings.keep_alive,
        context_length=_number(environment.get("OLLAMA_CONTEXT_LENGTH", ""), DEFAULT_CONTEXT),
        max_loaded=_number(environment.get("OLLAMA_MAX_LOADED_MODELS", ""), Settings.max_loaded),
        noprune=environment.get("OLLAMA_NOPRUNE", "").lower() in ("1", "true", "t"),
    )


def _number(text: str, default: int) -> int:
    return int(text) if text.isdigit() and int(text) > 0 else default


def _host_of(text: str) -> tuple[str, int]:
    scheme, mark, rest = text.partition("://")
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if mark else DEFAULT_PORT
    rest = (rest if mark else text).split("/")[0]
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]") or not port.isdigit():
        host, port = rest, ""
    return host.strip("[]") or Settings.host, int(port) if port else default
