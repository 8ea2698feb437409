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
    log_max_size: str = Field("50m", pattern=r"^\d+[kmg]$", description="of one container log file")
    log_max_files: int = Field(3, ge=1, le=100, description="log files kept per container")
