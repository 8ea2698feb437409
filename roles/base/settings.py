"""What an operator may say about the ground every service stands on."""

from __future__ import annotations

from pydantic import Field

from roles.settings import Settings


class BaseSettings(Settings):
    """Key `base` of the inventory."""

    packages: tuple[str, ...] = Field((), description="further packages of the distribution")
    journal_max: str = Field(
        "2G", pattern=r"^\d+[KMG]$", description="disk for the journal, so that logs never fill it"
    )
