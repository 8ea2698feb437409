"""What belongs to a bundle: every file with size and sha256, and for which systems. Written last: a bundle with one is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundle.artefacts import digest_of
from bundle.errors import BundleError

NAME = "manifest.json"
PREVIOUS = "manifest.previous.json"  # while a run is at work, or after it was cut off
MARK = ".llm-bundle"  # this directory is ours to write in
PLANNING = ".planning"  # indexes of a run that has not begun to change the bundle
OURS = frozenset({NAME, PREVIOUS, MARK})
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One file. systems: for hosts of which systems, such as "debian-12"."""

    sha256: str
    size: int
    systems: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """made: UTC time. source: revision of this project, or "". hosts: names by system."""

    made: str
    source: str
    hosts: dict[str, list[str]]
    files: dict[str, Entry] = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(entry.size for entry in self.files.values())


def read(folder: Path, name: str = NAME) -> Manifest | None:
    """The manifest of a bundle; None where there is none. Raises BundleError for one that cannot be read."""
    file = folder / name
    if not file.is_file():
        return None
    try:
        raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT:
            raise ValueError("another format than this version writes")
        raw["files"] = {path: Entry(**{**one, "systems": tuple(one["systems"])}) for path, one in raw["files"].items()}
        return Manifest(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BundleError(
            str(file),
            f"cannot be read ({problem})",
            "remove that file, then: python -m bundle make, which keeps what is right",
        ) from None


def write(folder: Path, manifest: Manifest) -> None:
    """Put it in place by a rename."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, sort_keys=True)
    new = folder / f"{NAME}.new"
    with new.open("w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / NAME)


def is_foreign(folder: Path) -> bool:
    """Whether the directory holds something, but no bundle: it is not ours to write in."""
    return folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file()


def others(folder: Path, manifest: Manifest) -> list[str]:
    """Paths of files that no host needs: of earlier settings, half-made, or somebody else's. Sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(
        name
        for name in names
        if name not in OURS and name not in manifest.files and not name.startswith(f"{PLANNING}/")
    )


def problems(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str | None]]:
    """(path, what is wrong or None), file by file; reads every byte."""
    for path, entry in sorted(manifest.files.items()):
        yield path, _problem(folder.resolve() / path, entry)


def _problem(file: Path, entry: Entry) -> str | None:
    if not file.is_file():
        return "is missing"
    if file.resolve() != file:
        return f"is reached through a link, at {file.resolve()}"
    if (size := file.stat().st_size) != entry.size:
        return f"has {size} bytes, not {entry.size}"
    if (seen := digest_of(file)) != entry.sha256:
        return f"has sha256 {seen}, not {entry.sha256}"
    return None
