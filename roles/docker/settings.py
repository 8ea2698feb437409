"""What an operator may say about Docker, which is there for the consumers and the exporters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roles.settings import Settings


class DockerSettings(Settings):
    """Key `docker` of the inventory."""

    source: Literal["docker", "distribution", "none"] = Field(
        "docker", description="Docker's own packages, the distribution's, or a host without Docker"
    )
    version: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)+$",
        description="exactly this Docker, such as 26.1.5, and held; default: the newest at the first deploy, and then that one",
    )
    replace_conflicting: bool = Field(
        False, description="replace a Docker of another source; images stay, containers run on (live-restore)"
    )
    key_fingerprint: str | None = Field(
        None, pattern=r"^[0-9A-F]{40}$", description="of the key that signs Docker's repository; default in pins.toml"
    )
    key_sha256: str | None = Field(
        None,
        pattern=r"^([0-9a-f]{64})?$",
        description="of the file that holds that key; default in pins.toml, where the fingerprint is the one there",
    )
    log_max_size: str = Field("50m", pattern=r"^\d+[kmg]$", description="of one container log file")
    log_max_files: int = Field(3, ge=1, le=100, description="log files kept per container")
