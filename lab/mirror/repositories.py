"""Model repositories on disk: a folder per repository, and an index with what a hub tells about each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

INDEX = "repositories.json"
# The hub keeps weights outside git, under their sha256; everything else is a git blob.
LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".model")
CREATED = "2023-07-13T16:45:23.000Z"


@dataclass(frozen=True)
class Entry:
    """One file of a repository."""

    size: int
    sha256: str
    blob_id: str  # git's name for the content: sha1 of "blob SIZE\\0" and the bytes
    is_large: bool

    @property
    def etag(self) -> str:
        """sha256 for weights, git's blob id for the rest, as the hub sends them."""
        return self.sha256 if self.is_large else self.blob_id

    def blob(self) -> dict[str, object]:
        """Size and names of the content, as `?blobs=true` adds them to a sibling."""
        lfs = {"lfs": {"sha256": self.sha256, "size": self.size, "pointerSize": 134}} if self.is_large else {}
        return {"blobId": self.blob_id, "size": self.size, **lfs}

    def listing(self, path: str) -> dict[str, object]:
        """The entry as `/api/models/…/tree/…` lists it."""
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.is_large else {}
        return {"type": "file", "oid": self.blob_id, "size": self.size, "path": path, **lfs}


@dataclass(frozen=True)
class Repository:
    """A repository with one revision."""

    name: str
    folder: Path
    gated: bool
    files: Mapping[str, Entry]

    @property
    def revision(self) -> str:
        """40 hex digits that follow from names and contents alone."""
        lines = [f"{path} {entry.sha256}" for path, entry in sorted(self.files.items())]
        return hashlib.sha1("\n".join([self.name, *lines]).encode()).hexdigest()

    def info(self, with_files: bool = False) -> dict[str, object]:
        """What `/api/models/{name}` answers, as far as clients of this project read it; `with_files`: `?blobs=true`."""
        return {
            "_id": self.revision[:24],
            "id": self.name,
            "modelId": self.name,
            "author": self.name.split("/")[0],
            "sha": self.revision,
            "private": False,
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["transformers", "safetensors", "llama"],
            "createdAt": CREATED,
            "lastModified": CREATED,
            "siblings": [{"rfilename": path, **(e.blob() if with_files else {})} for path, e in self.files.items()],
        }


def describe(path: Path) -> Entry:
    """Hash one file."""
    content = path.read_bytes()
    blob_id = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return Entry(len(content), hashlib.sha256(content).hexdigest(), blob_id, path.suffix in LARGE_SUFFIXES)


def write(root: Path, gated: Mapping[str, bool]) -> dict[str, Repository]:
    """Hash the repositories named in `gated` (folders below `root`) and write the index that `read` reads."""
    index = {}
    for name, is_gated in gated.items():
        paths = sorted(path for path in (root / name).rglob("*") if path.is_file())
        files = {path.relative_to(root / name).as_posix(): asdict(describe(path)) for path in paths}
        index[name] = {"gated": is_gated, "files": files}
    (root / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return read(root)


def read(root: Path) -> dict[str, Repository]:
    """The repositories below `root` by name; none if there is no index."""
    path = root / INDEX
    if not path.is_file():
        return {}
    found = {}
    for name, one in json.loads(path.read_text()).items():
        files = {file: Entry(**entry) for file, entry in one["files"].items()}
        found[name] = Repository(name, root / name, one["gated"], files)
    return found
