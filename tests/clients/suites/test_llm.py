"""llm with llm-ollama: the command line, as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FOX, Models


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


def llm(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "llm", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_models_are_found(home: Path, models: Models) -> None:
    listed = llm("models")
    assert f"ollama/{models.text}" in listed and f"ollama/{models.tools}" in listed
    assert models.embedding in llm("embed-models")


def test_a_prompt_streamed_and_whole(home: Path, models: Models) -> None:
    assert llm("-m", f"ollama/{models.text}", "hi").strip() == FOX
    assert llm("-m", f"ollama/{models.text}", "--no-stream", "hi").strip() == FOX


def test_a_schema(home: Path, models: Models) -> None:
    assert isinstance(json.loads(llm("-m", f"ollama/{models.text}", "--schema", "answer int", "hi"))["answer"], int)


def test_embeddings(home: Path, models: Models) -> None:
    assert len(json.loads(llm("embed", "-m", f"ollama/{models.embedding}", "-c", "hello"))) == 384
