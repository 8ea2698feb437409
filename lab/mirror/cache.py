"""Folders that are built once and kept outside the checkout, named after a hash of everything they are made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT = Path("/var/cache/llm-lab")


class CacheError(RuntimeError):
    """Something the lab installs from could not be made; the text says what and what to do."""


def root() -> Path:
    """`$LLM_LAB_CACHE`, or /var/cache/llm-lab; made if missing. Raises CacheError if it cannot be written."""
    folder = Path(os.environ.get("LLM_LAB_CACHE") or DEFAULT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{folder}: {error.strerror}; name another folder in LLM_LAB_CACHE") from None
    if not os.access(folder, os.W_OK):
        raise CacheError(f"{folder}: not writable by this user; name another folder in LLM_LAB_CACHE")
    return folder


def key_of(*parts: str | bytes | Path) -> str:
    """Twelve hex digits over texts and the contents of files; for a folder, over all files in it."""
    digest = hashlib.sha256()
    for part in parts:
        if not isinstance(part, Path):
            digest.update(part.encode() if isinstance(part, str) else part)
            digest.update(b"\0")
            continue
        for path in _sources(part):
            digest.update(f"{path.relative_to(part.parent)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _sources(part: Path) -> list[Path]:
    if part.is_file():
        return [part]
    return sorted(path for path in part.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold `target` against other processes that would make the same thing. A killed holder leaves no lock behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """The folder `target`, made by `build(temporary folder)` if it is not there yet.

    The name appears only when the build has succeeded, so an interrupted one leaves nothing that looks finished.
    """
    if target.is_dir():
        return target
    with locked(target):
        if target.is_dir():
            return target
        temporary = target.with_name(f".{target.name}.building")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        started = time.monotonic()
        say(f"making {target}")
        build(temporary)
        temporary.rename(target)
        say(f"made {target.name} in {time.monotonic() - started:.1f} s")
    return target


def say(message: str) -> None:
    """Progress goes to stderr, so that stdout stays for results."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex (hashlib.file_digest needs Python 3.11)."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()
