"""One file of a bundle: where it lies, where it comes from, and what it must be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Artefact:
    """A file that belongs into a bundle.

    path: relative to the bundle.
    url: where its bytes are; "" when `content` is the whole of it already.
    sha256s: every digest (64 hex digits) that is right; empty where nobody publishes one.
    git_id: git's id of the content (sha1 of "blob SIZE\\0" and the bytes), which the hub publishes for small files.
    size: in bytes, if known.
    token: for the Authorization header of the URL's own host; never shown.
    """

    path: str
    url: str = ""
    content: bytes | None = field(default=None, repr=False)
    sha256s: tuple[str, ...] = ()
    git_id: str = ""
    size: int | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts:
            raise ValueError(f"{self.path!r} is no path inside a bundle")

    @property
    def bytes_to_come(self) -> int:
        return self.size or 0

    def is_at(self, file: Path) -> bool:
        """Whether `file` is there, and right."""
        return file.is_file() and self.problem_of(file) is None

    def digest_at(self, file: Path) -> str:
        """sha256 of a file that is right; read again only where the digest is not among what makes it right."""
        return self.sha256s[0] if len(self.sha256s) == 1 else digest_of(file)

    def problem_of(self, file: Path) -> str | None:
        """What is wrong with `file` as this artefact, or None. Reads all of it."""
        if self.content is not None:
            return None if file.read_bytes() == self.content else "holds something else"
        size = file.stat().st_size
        if self.size is not None and size != self.size:
            return f"has {size} bytes, not {self.size}"
        if self.sha256s and (seen := digest_of(file)) not in self.sha256s:
            return f"has sha256 {seen}, not {' or '.join(self.sha256s)}"
        if self.git_id and (seen := git_id_of(file)) != self.git_id:
            return f"has git id {seen}, not {self.git_id}"
        return None


def digest_of(file: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def git_id_of(file: Path) -> str:
    """git's id of a file's content, 40 hex digits."""
    total = hashlib.sha1(f"blob {file.stat().st_size}\0".encode())
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()
