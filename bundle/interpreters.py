"""Interpreters for hosts whose own Python is too old for vLLM: the very builds that the pinned uv will ask for there."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import Web

BUILDS = "python/builds"


def wanted(lock_pythons: Sequence[str], own_python: str) -> list[str]:
    """Versions ("3.12") that the system does not have. uv takes the system's own where it fits."""
    return sorted({version for version in lock_pythons if version and version != own_python})


def plan(versions: Sequence[str], uv_wheel: Path, scratch: Path, mirror: str | None, web: Web) -> Iterator[Artefact]:
    """A build for each version. :param uv_wheel: its program knows which build it would fetch. Raises BundleError."""
    if not versions:
        return
    uv = unpack(uv_wheel, scratch)
    sums: dict[str, str] = {}
    for version in versions:
        url = build_url(list_builds(uv, version, mirror), version)
        base, date, name = url.rsplit("/", 2)
        if date not in sums:
            answer = web.ask(f"{base}/{date}/SHA256SUMS")
            sums[date] = answer.text if answer.status_code == 200 else ""
        known = {file: digest for digest, _, file in (line.partition("  ") for line in sums[date].splitlines())}
        digest = known.get(unquote(name))
        # uv itself knows the digest of each build and checks it on the host.
        yield Artefact(f"{BUILDS}/{date}/{unquote(name)}", url, sha256s=(digest,) if digest else ())


def unpack(uv_wheel: Path, scratch: Path) -> Path:
    """The program of uv's wheel, executable, below `scratch`."""
    with zipfile.ZipFile(uv_wheel) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
        program = Path(archive.extract(member, scratch))
    program.chmod(0o755)
    return program


def list_builds(uv: Path, version: str, mirror: str | None) -> list[dict[str, Any]]:
    """What uv would fetch for a version on this system. Raises BundleError."""
    command = [str(uv), "python", "list", version, "--only-downloads", "--output-format", "json", "--no-config"]
    environment = {"UV_PYTHON_INSTALL_MIRROR": mirror.rstrip("/")} if mirror else {}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise BundleError(f"Python {version}", f"uv cannot list its builds: {done.stderr.strip()}", "is uv.lock whole?")
    builds: list[dict[str, Any]] = json.loads(done.stdout)
    return builds


def build_url(builds: Sequence[dict[str, Any]], version: str) -> str:
    """The one that uv takes: CPython, without a variant. Raises BundleError where it knows none."""
    for build in builds:
        if (build["implementation"], build["variant"]) == ("cpython", "default"):
            return str(build["url"])
    raise BundleError(f"Python {version}", "uv knows no build of it for this system", "is it the system of the hosts?")
