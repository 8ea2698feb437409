"""Ollama's release archives: the same bytes each time, a checksum file that agrees, two versions that differ."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.mirror import ollama_releases


def members(version: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(ollama_releases.tree(version))) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_the_archive_has_the_layout_of_the_real_one() -> None:
    found = members("0.32.15")
    assert found["bin/ollama"].mode == 0o755
    assert "lib/ollama/libggml-base.so.0.32.15" in found
    assert {member.uid for member in found.values()} == {0}


def test_the_same_version_is_the_same_bytes_and_another_is_not() -> None:
    assert ollama_releases.tree("0.32.15") == ollama_releases.tree("0.32.15")
    assert ollama_releases.tree("0.32.15") != ollama_releases.tree("0.33.0")


def test_a_library_left_over_from_an_older_version_can_be_told() -> None:
    assert "lib/ollama/libggml-base.so.0.32.15" not in members("0.33.0")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd tool is not installed")
def test_the_checksum_file_is_one_that_sha256sum_accepts(tmp_path: Path) -> None:
    folder = ollama_releases.ensure(tmp_path)
    for version in ollama_releases.VERSIONS:
        release = folder / f"v{version}"
        checked = subprocess.run(["sha256sum", "--check", "sha256sum.txt"], cwd=release, capture_output=True, text=True)
        assert checked.stdout == f"./{ollama_releases.archive_name()}: OK\n"
        packed = (release / ollama_releases.archive_name()).read_bytes()
        unpacked = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
        assert hashlib.sha256(unpacked).digest() == hashlib.sha256(ollama_releases.tree(version)).digest()
