"""Releases on a played host: what a deploy leaves there, and what is in place."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phase.played_host import PlayedHost, modules, play

real_run = modules()["host"].run  # before any host is played
A, B, C, D = (f"r-{letter * 12}" for letter in "abcd")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedHost:
    played = play(tmp_path, monkeypatch.setattr)
    monkeypatch.setattr(modules()["releases"], "now", lambda: "1970-01-01T00:00:00+00:00")  # a clock that is no help
    monkeypatch.setattr(modules()["steps"], "has_present_inputs", lambda name, record: True)
    return played


def llm_phase(*words: str) -> int:
    status: int = modules()["command"].main([*words])
    return status


def stage(host: PlayedHost, release: str, files: dict[str, str], phase: int = 2, keep: int = 3, **more: Any) -> None:
    """What a deploy leaves below next/: files by name, a link where the text begins with `link `."""
    for name, text in files.items():
        path = Path(f"{host.folder}/next/root{host.folder}/live/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(text.removeprefix("link ")) if text.startswith("link ") else path.write_text(text)
    software = host.folder / "opt" / "vllm" / release
    software.mkdir(parents=True, exist_ok=True)
    (software / ".complete").touch()
    manifest = {
        "id": release,
        "phase": phase,
        "files": {
            f"{host.folder}/live/{name}": text if text.startswith("link ") else hashlib.sha256(text.encode()).hexdigest()
            for name, text in files.items()
        },
        "needs": [str(software / ".complete")],
        "versions": {"vllm": release},
        "checks": [],
        "keep": keep,
        "by": "alice",
        **more,
    }  # fmt: skip
    (host.folder / "next").mkdir(exist_ok=True)
    (host.folder / "next/manifest.json").write_text(json.dumps(manifest))


def live(host: PlayedHost) -> dict[str, str]:
    """By name, what is in place."""
    folder = host.folder / "live"
    if not folder.exists():
        return {}
    return {
        path.name: f"link {os.readlink(path)}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.iterdir())
        if not path.name.endswith(".new")
    }


def deploy(host: PlayedHost, release: str, files: dict[str, str], **more: Any) -> None:
    """A deploy that comes through."""
    stage(host, release, files, **more)
    assert llm_phase("activate") == 0
    assert llm_phase("2") == 0
    assert llm_phase("settle") == 0


OLD = {"vllm.yaml": "a", "current": "link 0.1"}
NEW = {"vllm.yaml": "b", "current": "link 0.2", "more": "b"}
