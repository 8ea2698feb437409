"""What an operator may say about watching the host."""

from __future__ import annotations

from pydantic import Field

from roles.settings import Settings


class MonitoringSettings(Settings):
    """Key `monitoring` of the inventory."""

    check_interval_s: int = Field(60, ge=10, le=3600, description="how often the host asks its own services")
