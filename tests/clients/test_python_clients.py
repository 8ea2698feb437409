"""Unmodified clients of PyPI against a running adapter: each suite runs in the environment that has its client."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab import locked_venv
from lab.paths import cache_root
from lab.progress import to_stderr

HERE = Path(__file__).parent
# Suites whose client cannot share an environment with the others.
OWN_LOCKS = {"semantic_kernel": "semantic-kernel.lock"}
SUITES = sorted(path.stem.removeprefix("test_") for path in (HERE / "suites").glob("test_*.py"))
_TIMEOUT_S = 300


def python_of(suite: str) -> Path:
    """The Python that has the suite's client, installed on first use."""
    lock = HERE / OWN_LOCKS.get(suite, "requirements.lock")
    return locked_venv.ensure(lock, cache_root() / "clients", to_stderr())


@pytest.mark.clients
@pytest.mark.parametrize("suite", SUITES)
def test_an_unmodified_client_works(suite: str, adapter_url: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA_", "PYTEST_"))}
    environment = {**kept, "LLM_ADAPTER_URL": adapter_url, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(python_of(suite)), "-m", "pytest", f"test_{suite}.py"],
        cwd=HERE / "suites", env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert re.search(r"\b[1-9][0-9]* passed", done.stdout), done.stdout[-2000:]
