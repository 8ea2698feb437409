"""Ollama's release archives: the stand-in packed as the real one, with the checksum file beside it."""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import subprocess
import tarfile
import zipfile
from functools import partial
from pathlib import Path

from lab.mirror import cache

VERSIONS = ("0.32.15", "0.33.0")
STAND_IN = Path(__file__).resolve().parents[1] / "stand_ins" / "ollama_stand_in"
# Isolated: neither the user's site-packages nor PYTHON* variables of a unit reach the stand-in.
INTERPRETER = b"#!/usr/bin/python3 -I\n"
ZIP_DATE = (2026, 1, 1, 0, 0, 0)
MAIN = "import sys\n\nfrom ollama_stand_in.cli import main\n\nsys.exit(main(sys.argv[1:]))\n"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive_name() -> str:
    """As upstream names it for this machine's architecture."""
    return f"ollama-linux-{ARCHITECTURES[platform.machine()]}.tar.zst"


def ensure(root: Path) -> Path:
    """The folder served under `/ollama/releases/download/`. Raises CacheError if the zstd tool is missing."""
    made_from = cache.key_of(STAND_IN, Path(__file__), platform.machine())
    return cache.build_once(root / f"ollama-releases-{made_from}", partial(_make, VERSIONS))


def _make(versions: tuple[str, ...], target: Path) -> None:
    if shutil.which("zstd") is None:
        raise cache.CacheError("Ollama's release archive needs the zstd tool; apt-get install zstd")
    for version in versions:
        folder = target / f"v{version}"
        folder.mkdir()
        command = ["zstd", "--quiet", "--no-progress", "-3", "--stdout"]
        packed = subprocess.run(command, input=tree(version), capture_output=True, check=True).stdout
        (folder / archive_name()).write_bytes(packed)
        # Upstream writes `SUM  ./NAME`.
        (folder / "sha256sum.txt").write_text(f"{hashlib.sha256(packed).hexdigest()}  ./{archive_name()}\n")


def tree(version: str) -> bytes:
    """The tar archive: `bin/ollama` and `lib/ollama/` with a library named after the version, as the real one has them.

    A file of an older version that stays behind in `lib/ollama` can thus be told from the new ones.
    """
    libraries = [f"lib/ollama/libggml-base.so.{version}", "lib/ollama/cuda_v12/libggml-cuda.so"]
    libraries.append("lib/ollama/cuda_v13/libggml-cuda.so")
    content = {name: f"stand-in of the lab for Ollama {version}: {name}\n".encode() for name in libraries}
    folders = sorted({str(folder) for name in ("bin/ollama", *libraries) for folder in list(Path(name).parents)[:-1]})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in folders:
            archive.addfile(_member(folder, tarfile.DIRTYPE, 0o755, 0))
        for name, data in {"bin/ollama": application(version), **content}.items():
            mode = 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(_member(name, tarfile.REGTYPE, mode, len(data)), io.BytesIO(data))
    return buffer.getvalue()


def _member(name: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.mtime = kind, mode, size, 1_767_225_600
    member.uname = member.gname = "root"
    return member


def application(version: str) -> bytes:
    """`bin/ollama`: an executable zip application with the stand-in and this version."""
    buffer = io.BytesIO(INTERPRETER)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        sources = {f"ollama_stand_in/{path.name}": path.read_bytes() for path in sorted(STAND_IN.glob("*.py"))}
        sources["ollama_stand_in/version.py"] = f'VERSION = "{version}"\n'.encode()
        for name, data in {"__main__.py": MAIN.encode(), **sources}.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
    return buffer.getvalue()
