"""Wheels: the ones that the locks pin and the hosts' interpreters take, found at a package index (PEP 503, PEP 691)."""

from __future__ import annotations

import html
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from packaging.markers import Marker, default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import Web
from bundle.needs import Lock

WHEELS = "python/wheels"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
HASH = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One pinned project. name: as PEP 503 compares it. sha256s: what the lock allows."""

    name: str
    version: Version
    sha256s: frozenset[str]
    marker: Marker | None


@dataclass(frozen=True)
class Link:
    """A file that an index offers; sha256 is "" where the index does not say it."""

    name: str
    url: str
    sha256: str


def parse_lock(text: str) -> list[Pin]:
    """The pins of a lock in pip's format. Raises ValueError for an entry that pins nothing."""
    pins = []
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        entry = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not entry or entry.startswith("-"):
            continue
        try:
            requirement = Requirement(HASH.sub("", entry).strip())
        except InvalidRequirement:
            raise ValueError(f"no pin: {entry[:80]!r}") from None
        exact = [one for one in requirement.specifier if one.operator == "=="]
        if len(exact) != 1:
            raise ValueError(f"no pin: {entry[:80]!r}; a lock says name==version")
        hashes = frozenset(HASH.findall(entry))
        pins.append(Pin(canonicalize_name(requirement.name), Version(exact[0].version), hashes, requirement.marker))
    return pins


def applies(pin: Pin, python: str) -> bool:
    """Whether a host installs it: its marker is true for this machine's system with that interpreter ("3.12")."""
    if pin.marker is None:
        return True
    environment: dict[str, Any] = dict(default_environment())
    return pin.marker.evaluate({**environment, "python_version": python, "python_full_version": f"{python}.0"})


def tags_for(python: str) -> list[Tag]:
    """Tags of the wheels that an interpreter takes on this machine's system, the best first."""
    version, platforms = tuple(int(part) for part in python.split(".")), list(platform_tags())
    own = cpython_tags(python_version=version, platforms=platforms)
    return [*own, *compatible_tags(version, f"cp{''.join(python.split('.'))}", platforms)]


def parse_page(answer_type: str, text: str, url: str) -> list[Link]:
    """The files of a project's page, JSON or HTML."""
    if "json" in answer_type:
        files = json.loads(text).get("files", [])
        return [
            Link(one["filename"], urljoin(url, one["url"]), one.get("hashes", {}).get("sha256", "")) for one in files
        ]
    links = []
    for found in re.finditer(r"""<a\s[^>]*?href\s*=\s*["']([^"']+)["']""", text, re.IGNORECASE):
        address, _, fragment = urljoin(url, html.unescape(found[1])).partition("#")
        digest = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
        links.append(Link(unquote(urlsplit(address).path.rsplit("/", 1)[-1]), address, digest[1] if digest else ""))
    return links


def choose(pin: Pin, links: Sequence[Link], tags: Sequence[Tag]) -> Link | None:
    """The best wheel of exactly this version, with a hash that the lock knows."""
    rank = {tag: position for position, tag in enumerate(tags)}
    best: tuple[int, Link] | None = None
    for link in links:
        if not link.name.endswith(".whl") or (link.sha256 and link.sha256 not in pin.sha256s):
            continue
        try:
            name, version, _, its = parse_wheel_filename(link.name)
        except InvalidWheelFilename:
            continue
        fitting = [rank[tag] for tag in its if tag in rank]
        if name == pin.name and version == pin.version and fitting and (best is None or min(fitting) < best[0]):
            best = min(fitting), link
    return best[1] if best else None


def plan(locks: Sequence[Lock], own_python: str, index: str, torch_index: str, web: Web) -> Iterator[Artefact]:
    """Every wheel of the locks, each once.

    :param own_python: version of the system's interpreter.
    :param torch_index: asked for builds that one publisher makes (`torch==2.13.0+cpu`), after `index`.
    :raises BundleError: where there is no wheel.
    """
    pages: dict[str, list[Link]] = {}
    chosen: set[str] = set()

    def page(base: str, name: str) -> list[Link]:
        url = f"{base.rstrip('/')}/{name}/"
        if url not in pages:
            answer = web.ask(url, accept=ACCEPT)
            kind = answer.headers.get("content-type", "")
            if answer.status_code not in (200, 404):
                raise BundleError(
                    url, f"answered {answer.status_code}", "is it the right index, and is the login right?"
                )
            try:
                pages[url] = parse_page(kind, answer.text, str(answer.url)) if answer.status_code == 200 else []
            except (ValueError, KeyError, TypeError):
                raise BundleError(url, "answered something that is no index", "is that the right server?") from None
        return pages[url]

    for lock in locks:
        python = lock.python or own_python
        tags = tags_for(python)
        for pin in parse_lock(lock.text):
            if not applies(pin, python):
                continue
            bases = [index, *([torch_index] if pin.version.local else [])]
            link = next((found for base in bases if (found := choose(pin, page(base, pin.name), tags))), None)
            if link is None:
                offered = [
                    one.name for base in bases for one in page(base, pin.name) if f"-{pin.version.public}" in one.name
                ]
                raise BundleError(
                    f"{pin.name}=={pin.version}",
                    f"no wheel for Python {python} on {platform.machine()} with a hash of the {lock.about} lock at "
                    f"{' or '.join(bases)}; of this version it has {', '.join(offered[:4]) or 'nothing'}",
                    "name an index that has it: --mirror python_index=URL (or torch_cpu_index=URL)",
                )
            if link.name not in chosen:
                chosen.add(link.name)
                right = (link.sha256,) if link.sha256 else tuple(sorted(pin.sha256s))
                yield Artefact(f"{WHEELS}/{link.name}", link.url, sha256s=right)


def own_python() -> str:
    """Version of this system's own interpreter, such as "3.11": the hosts have the same system."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(
        ["/usr/bin/python3", "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def default_index() -> str:
    """The package index that this machine's pip uses: its configuration and PIP_INDEX_URL count, as in `pip config list`."""
    help_text = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--help"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"},
    ).stdout  # fmt: skip
    found = re.search(r"--index-url\s+<url>.*?\(default\s+(\S+?)\)", help_text, re.DOTALL)
    if found is None:
        raise BundleError("package index", "pip does not tell which one it uses", "name one: --mirror python_index=URL")
    if "****" in found[1]:  # pip does not show a password
        given = os.environ.get("PIP_INDEX_URL", "")
        if not given:
            raise BundleError(
                "package index", f"pip hides a part of {found[1]}", "export PIP_INDEX_URL with the whole of it"
            )
        return given
    return found[1]
