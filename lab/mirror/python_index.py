"""A Python package index over a folder of wheels: PEP 503 pages, hashes in the links, PEP 658 metadata beside them."""

from __future__ import annotations

import hashlib
import html
import json
import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from lab.mirror.cache import sha256_of
from lab.mirror.replies import Reply, Request, file, inside, not_found, text

# Written by the wheelhouse beside the wheels: file name -> sha256, so that a gigabyte is not hashed at every start.
HASHES = "sha256.json"


def normalise(name: str) -> str:
    """A project name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project_of(wheel: str) -> str:
    """The normalised project name of a wheel's file name."""
    return normalise(wheel.split("-")[0])


@lru_cache(maxsize=4096)
def _sha256(path: Path, version: tuple[int, int]) -> str:
    return sha256_of(path)


@lru_cache(maxsize=1024)
def _metadata(path: Path, version: tuple[int, int]) -> bytes | None:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        return archive.read(names[0]) if names else None


def _version(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@dataclass(frozen=True)
class PythonIndex:
    """The wheels below some folders, under `/simple/` (pages) and `/wheels/` (files). The first folder wins."""

    folders: tuple[Path, ...]

    def answer(self, request: Request) -> Reply:
        """A page of `/simple/`, or a file of `/wheels/`."""
        path = request.path
        if path.startswith("/wheels/"):
            return self._file(path.removeprefix("/wheels/"))
        project = path.removeprefix("/simple").strip("/")
        if project and (project != normalise(project) or not path.endswith("/")):
            return text(301, "moved", Location=f"/simple/{normalise(project)}/")
        wheels = self._wheels()
        if not project:
            names = sorted({project_of(name) for name in wheels})
            return _page("Simple index", [f'<a href="{name}/">{name}</a>' for name in names])
        own = sorted(name for name in wheels if project_of(name) == project)
        if not own:
            return not_found(path)
        return _page(f"Links for {project}", [self._link(wheels[name]) for name in own])

    def _wheels(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in reversed(self.folders):
            found |= {path.name: path for path in folder.glob("*.whl")}
        return found

    def _file(self, name: str) -> Reply:
        wheel = self._wheels().get(name.removesuffix(".metadata"))
        if wheel is None or "/" in name:
            return not_found(f"/wheels/{name}")
        if not name.endswith(".metadata"):
            return file(wheel, content_type="application/octet-stream", etag=self._hash(wheel))
        metadata = _metadata(wheel, _version(wheel))
        return Reply(200, metadata) if metadata is not None else not_found(f"/wheels/{name}")

    def _link(self, wheel: Path) -> str:
        url = f"/wheels/{quote(wheel.name)}#sha256={self._hash(wheel)}"
        described = ""
        if metadata := _metadata(wheel, _version(wheel)):
            value = f"sha256={hashlib.sha256(metadata).hexdigest()}"
            # Both names: PEP 658's and the corrected one of PEP 714.
            described = f' data-dist-info-metadata="{value}" data-core-metadata="{value}"'
        return f'<a href="{url}"{described}>{html.escape(wheel.name)}</a>'

    @staticmethod
    def _hash(wheel: Path) -> str:
        known = inside(wheel.parent, HASHES)
        if known is not None:
            recorded = _recorded(known, _version(known))
            if wheel.name in recorded:
                return recorded[wheel.name]
        return _sha256(wheel, _version(wheel))


@lru_cache(maxsize=16)
def _recorded(path: Path, version: tuple[int, int]) -> dict[str, str]:
    hashes: dict[str, str] = json.loads(path.read_text())
    return hashes


def _page(title: str, links: list[str]) -> Reply:
    version = '<meta name="pypi:repository-version" content="1.0">'
    head = f"<!DOCTYPE html>\n<html><head>{version}<title>{title}</title></head>"
    body = "".join(f"{link}<br/>\n" for link in links)
    return Reply(200, f"{head}<body>\n{body}</body></html>\n".encode(), "text/html; charset=utf-8")
