"""What an operator may say about the adapter, the Ollama API in front of vLLM."""

from __future__ import annotations

from pydantic import Field

from roles.settings import Settings


class AdapterSettings(Settings):
    """Key `adapter` of the inventory."""

    address: str = Field(
        "0.0.0.0", pattern=r"^\d{1,3}(\.\d{1,3}){3}$", description="address of the host that clients reach it by"
    )
    port: int = Field(11434, ge=1024, le=65535, description="in Phase 2; Phase 1's text server has it otherwise")
    drain_timeout_s: int = Field(30, ge=1, le=600, description="what running answers get when the adapter is stopped")
    max_body_bytes: int = Field(256 * 2**20, ge=2**20, description="largest request; images make tens of MB")
