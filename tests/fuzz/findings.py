"""What a fuzz target says when the adapter broke a promise, and where reproducers go."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path


class Finding(Exception):
    """The adapter did what it must never do; the text says what."""


class Findings:
    """Keeps one reproducer per kind of finding: `<target>-<key>.bin` is the input, `.txt` says what happened."""

    def __init__(self, directory: Path, target: str) -> None:
        self._directory = directory
        self._target = target
        self.kinds: dict[str, str] = {}

    def add(self, data: bytes, error: BaseException) -> None:
        """Save the input of a finding, unless its kind is known."""
        kind = kind_of(error)
        if kind in self.kinds:
            return
        text = "".join(traceback.format_exception(error))
        self.kinds[kind] = text
        key = hashlib.sha256(kind.encode()).hexdigest()[:10]
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / f"{self._target}-{key}.bin").write_bytes(data)
        (self._directory / f"{self._target}-{key}.txt").write_text(f"{kind}\n\n{text}", encoding="utf-8")


def kind_of(error: BaseException) -> str:
    """Equal for two findings that have one cause, as far as one can tell: the type, and the function that raised it."""
    if isinstance(error, Finding):
        return f"finding: {str(error).splitlines()[0].partition(':')[0]}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "ollama_adapter" in frame.filename] or frames
    place = f"{inside[-1].name} of {Path(inside[-1].filename).name}" if inside else "?"
    return f"{type(error).__name__} in {place}"
