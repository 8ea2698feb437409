"""What an operator may say about the GPU driver."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roles.settings import Settings


class NvidiaSettings(Settings):
    """Key `nvidia` of the inventory; read on hosts with `gpu = "nvidia"` only."""

    branch: str | None = Field(None, pattern=r"^\d{3}$", description="driver branch; default in pins.toml")
    modules: Literal["open", "proprietary"] = Field(
        "open", description="kernel modules; Pascal and Volta need proprietary"
    )
    key_fingerprint: str | None = Field(
        None, pattern=r"^[0-9A-F]{40}$", description="of the key that signs the driver repository; default in pins.toml"
    )
    toolkit_key_fingerprint: str | None = Field(
        None, pattern=r"^[0-9A-F]{40}$", description="of the key that signs the container toolkit; default in pins.toml"
    )
    reboot: Literal["allowed", "ask-later"] = Field(
        "allowed", description="when a new driver needs one: in the run, or end it with a message instead"
    )
