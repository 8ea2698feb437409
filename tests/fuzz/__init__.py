"""Fuzzing of the adapter: `python -m tests.fuzz --help`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("ollama_adapter") is None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "files" / "adapter" / "src"))
