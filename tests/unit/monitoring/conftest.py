"""Prometheus' own programs, for tests that ask them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import monitoring_tools
from lab.mirror.cache import CacheError


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with promtool, prometheus and the exporters; skips where this machine's apt does not give them."""
    try:
        return monitoring_tools.ensure()
    except CacheError as problem:
        pytest.skip(f"no Prometheus for tests: {problem}")
