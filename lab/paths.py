"""Where the lab keeps things: state per checkout, and a cache that all checkouts share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def state_root() -> Path:
    """All labs of this machine; LLM_LAB_STATE overrides it."""
    return Path(os.environ.get("LLM_LAB_STATE") or "/var/lib/llm-lab").absolute()


def cache_root() -> Path:
    """Base systems and packages, made again when missing; LLM_LAB_CACHE overrides it."""
    return Path(os.environ.get("LLM_LAB_CACHE") or "/var/cache/llm-lab").absolute()


@dataclass(frozen=True)
class HostPaths:
    """The directory of one host."""

    root: Path

    @property
    def spec(self) -> Path:
        """Written first and removed first: a host exists exactly while this does."""
        return self.root / "host.json"

    @property
    def upper(self) -> Path:
        """What the host changed over its base; its disk."""
        return self.root / "upper"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def mountpoint(self) -> Path:
        return self.root / "root"

    @property
    def docker(self) -> Path:
        return self.root / "docker"

    @property
    def console_log(self) -> Path:
        return self.root / "console.log"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "supervisor.log"

    @property
    def supervisor_lock(self) -> Path:
        return self.root / "supervisor.lock"
