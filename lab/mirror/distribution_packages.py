"""Real packages of the distribution, from the mirror that this machine's own apt uses, verified by apt's own signature check."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab import apt_sources, machine
from lab.errors import CannotRun
from lab.mirror.cache import CacheError


def machine_suite() -> str:
    """The suite of this machine. Raises CacheError where it is not one of Debian's family."""
    return _distribution().suite


def fetch(suite: str, packages: Sequence[str], folder: Path) -> dict[str, Path]:
    """Download packages of a suite into `folder`, without what they depend on; the file by name.

    apt gets a state directory of its own, so neither this machine's lists nor its sources are touched. Raises CacheError
    where the mirror has no such suite or lacks a package.
    """
    here = _distribution()
    entries = [
        replace(source, suites=(suite,))
        for source in apt_sources.parse_deb822(here.sources)
        if here.suite in source.suites
    ]
    state = folder / f".apt-{suite}"
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "suite.sources").write_text(apt_sources.to_deb822(entries))
    (state / "status").touch()
    settings = (
        f"Dir::Etc::SourceList={state}/suite.sources", "Dir::Etc::SourceParts=/dev/null", "APT::Sandbox::User=root",
        f"Dir::State::lists={state}/lists", f"Dir::State::status={state}/status", f"Dir::Cache={state}",
        f"Dir::Etc::PreferencesParts={state}", f"Dir::Cache::archives={state}/archives",
    )  # fmt: skip
    options = [word for setting in settings for word in ("-o", setting)]
    _apt("update", *options, "--error-on=any", folder=folder, suite=suite)
    _apt("download", *options, *packages, folder=folder, suite=suite)
    return {name: next(folder.glob(f"{name}_*.deb")) for name in packages}


def _apt(command: str, *arguments: str, folder: Path, suite: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", command, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        timeout=600,
    )
    if done.returncode != 0:
        said = "\n".join(line for line in done.stderr.splitlines() if line.startswith(("E:", "W:")))
        raise CacheError(f"this machine's package mirror does not give the lab {suite}'s packages:\n{said}")


def _distribution() -> machine.Distribution:
    try:
        return machine.distribution()
    except CannotRun as error:
        raise CacheError(str(error)) from error
