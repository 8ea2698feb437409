"""The adapter's package for its unit tests: the installed one, else its source."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("ollama_adapter") is None:
    sys.path.insert(0, str(Path(__file__).parents[3] / "files" / "adapter" / "src"))
