"""Prometheus' own programs, for tests that ask them; and the adapter's package, the installed one, else its source."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from lab import monitoring_tools
from lab.mirror.cache import CacheError

if importlib.util.find_spec("ollama_adapter") is None:
    sys.path.insert(0, str(Path(__file__).parents[3] / "files" / "adapter" / "src"))


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with promtool, prometheus and the exporters; skips where this machine's apt does not give them."""
    try:
        return monitoring_tools.ensure()
    except CacheError as problem:
        pytest.skip(f"no Prometheus for tests: {problem}")
