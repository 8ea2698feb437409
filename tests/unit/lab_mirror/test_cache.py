"""The cache: a name appears when what it names is complete, and follows from what it was made from."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.mirror import cache


def test_an_interrupted_build_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.build_once(tmp_path / "thing", broken)
    assert not (tmp_path / "thing").exists()
    made = cache.build_once(tmp_path / "thing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]


def test_two_at_once_build_once(tmp_path: Path) -> None:
    count: list[int] = []
    threads = [
        threading.Thread(target=cache.build_once, args=(tmp_path / "thing", lambda _: count.append(1)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) == 1


def test_a_key_changes_with_any_file_and_not_with_compiled_ones(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("1")
    first = cache.key_of(folder, "x")
    (folder / "__pycache__" / "a.pyc").write_text("compiled")
    assert cache.key_of(folder, "x") == first
    (folder / "a.py").write_text("2")
    assert cache.key_of(folder, "x") != first


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLM_LAB_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(cache.CacheError, match="name another folder in LLM_LAB_CACHE"):
        cache.root()
