"""Looking for a secret where it must not be: in text, in files, in what processes show while something runs."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

# What `ps auxeww` shows of each process, read more often than ps could: argument list and environment, each once.
SAMPLER = """
import os, signal, sys, time
seen, own = set(), str(os.getpid())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    while True:
        for pid in os.listdir("/proc"):
            if pid.isdigit() and pid != own:
                for name in ("cmdline", "environ"):
                    try:
                        with open(f"/proc/{pid}/{name}", "rb") as file:
                            seen.add(file.read())
                    except OSError:
                        pass
        time.sleep(0.03)
finally:
    with open(sys.argv[1], "wb") as file:
        file.write(b"\\n".join(sorted(seen)))
"""


def forms(secret: str) -> dict[str, str]:
    """How a secret can be written, by name: as it is, in hex, in base64 at each of three places, its checksum."""
    raw = secret.encode()
    written = {"plain": secret, "hex": raw.hex(), "HEX": raw.hex().upper()}
    for before in range(3):
        # Without the letters that depend on what stands before and after it.
        first, last = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            written[f"{name}+{before}"] = encode(b"\0" * before + raw).decode()[first:last]
    for name, content in (("sha256", raw), ("sha256 of the line", raw + b"\n")):
        written[name] = hashlib.sha256(content).hexdigest()
    return written


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    """The names of the forms in which one of the secrets is in the text."""
    return [name for secret in secrets for name, form in forms(secret).items() if form in text]


def found_in_files(places: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """`form: path` for each file that holds a secret. Files that are gone by now hold none."""
    wanted = {form.encode(): name for secret in secrets for name, form in forms(secret).items()}
    found = []
    for path in places:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        found += [f"{name}: {path}" for form, name in wanted.items() if form in content]
    return found


def changed_since(roots: Mapping[Path, int], since: float, without: Iterable[Path]) -> Iterator[Path]:
    """Files below the roots that were written since a moment. :param roots: with how many folders deep to look."""
    left_out = {str(path) for path in without}
    for root, depth in roots.items():
        for folder, folders, names in os.walk(root):
            deeper = len(Path(folder).relative_to(root).parts) < depth
            folders[:] = [name for name in folders if deeper and f"{folder}/{name}" not in left_out]
            for name in names:
                path = Path(folder, name)
                try:
                    written = path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since
                except OSError:
                    continue
                if written:
                    yield path


class Watching:
    """Arguments and environment of every process of this machine, those of the lab's hosts among them, while the block runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seen = ""

    def __enter__(self) -> Watching:
        self._process = subprocess.Popen([sys.executable, "-c", SAMPLER, str(self._file)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)
        self.seen = self._file.read_bytes().decode(errors="replace")
