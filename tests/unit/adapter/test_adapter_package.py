from __future__ import annotations

import re
from pathlib import Path

import ollama_adapter

ADAPTER = Path(__file__).parents[3] / "files" / "adapter"
LOCK = (ADAPTER / "requirements.lock").read_text(encoding="utf-8")
PROJECT = (ADAPTER / "pyproject.toml").read_text(encoding="utf-8")


def names(text: str) -> set[str]:
    return set(re.findall(r"^\s*\"?([a-z]+)[=>]=", text, re.MULTILINE))


def test_every_dependency_is_locked_and_nothing_else() -> None:
    assert names(LOCK) == names(PROJECT) == {"httptools", "msgspec", "tomli", "uvloop"}


def test_every_locked_version_has_hashes_and_no_address() -> None:
    pins = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_the_version_is_the_same_everywhere() -> None:
    assert f'version = "{ollama_adapter.__version__}"' in PROJECT
