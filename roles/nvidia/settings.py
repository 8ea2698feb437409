"""What an operator may say about the GPU driver."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roles.pins import pins
from roles.settings import Settings


class NvidiaSettings(Settings):
    """Key `nvidia` of the inventory; read on hosts with `gpu = "nvidia"` only."""

    branch: str | None = Field(
        None, pattern=r"^\d{3}$", coerce_numbers_to_str=True, description="driver branch; default in pins.toml"
    )
    version: str | None = Field(
        None,
        pattern=r"^\d{3}(\.\d+)+$",
        description="exactly this driver; default: the newest of the branch at the first deploy, and then that one",
    )
    modules: Literal["auto", "open", "proprietary"] = Field(
        "auto", description="kernel modules; `auto`: proprietary for Maxwell, Pascal and Volta, else open"
    )
    key_fingerprint: str | None = Field(
        None, pattern=r"^[0-9A-F]{40}$", description="of the key that signs the driver repository; default in pins.toml"
    )
    key_sha256: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="of the file that holds that key; empty: the fingerprint alone decides",
    )
    toolkit_key_fingerprint: str | None = Field(
        None, pattern=r"^[0-9A-F]{40}$", description="of the key that signs the container toolkit; default in pins.toml"
    )
    reboot: Literal["allowed", "ask-later"] = Field(
        "allowed", description="when a new driver needs one: in the run, or end it with the outcome reboot-needed"
    )

    @property
    def wanted_branch(self) -> str:
        """The setting, else the pin."""
        return self.branch or pins().nvidia.branch
