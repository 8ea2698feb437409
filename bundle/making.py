"""A bundle, from an inventory to a manifest: what is needed, where it is, what is there already, the rest."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle import apt, grafana, hub, interpreters, manifest, ollama, python_index
from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import Report, Web, have, part_of, size_of
from bundle.manifest import Entry, Manifest
from bundle.needs import Needs
from roles.pins import ROOT

RESERVE_BYTES = 500_000_000


@dataclass(frozen=True)
class Outcome:
    """fetched: bytes that came in this run. others: files that no host needs, see manifest.others."""

    made: Manifest
    fetched: int
    others: list[str]


def plan(needs: Needs, root: Path, installed: Sequence[str], web: Web, report: Report) -> list[Artefact]:
    """Everything that the bundle must hold for these hosts. Indexes and uv are fetched to `root` on the way, and nothing else.

    Raises BundleError for the first thing that cannot be had.
    """
    mirrors = needs.mirrors
    found: list[Artefact] = []
    with TemporaryDirectory(prefix="llm-bundle-") as temporary:
        scratch = Path(temporary)
        # What a person has to see to – a token, a name – comes first.
        for model in needs.models:
            report(f"model {model.repository}")
        found += hub.plan(needs.models, mirrors.hub, web)
        report("Ollama and its models")
        found += ollama.plan_releases(needs.ollama, mirrors.ollama_releases, web)
        found += ollama.plan_models(needs.ollama_models, mirrors.ollama_registry, web)
        found += grafana.plan(needs.grafana, mirrors.grafana_releases)
        if needs.locks:
            index, own = mirrors.python_index or python_index.default_index(), python_index.own_python()
            report(f"wheels ({', '.join(lock.about for lock in needs.locks)})")
            wheels = list(python_index.plan(needs.locks, own, index, mirrors.torch_cpu_index, web))
            found += wheels
            if versions := interpreters.wanted([lock.python for lock in needs.locks], own):
                report(f"Python {', '.join(versions)}, which {needs.system.name} does not have")
                (uv,) = [one for one in wheels if Path(one.path).name.startswith("uv-")]
                have(uv, root, web)
                found += interpreters.plan(versions, root / uv.path, scratch, mirrors.python_builds, web)
        report("packages of the distribution and the vendors")
        found += apt.plan(needs.repositories, needs.groups, needs.drivers, installed, root, scratch, web, report)
    return list({one.path: one for one in found}.values())


def dry(needs: Needs, folder: Path, installed: Sequence[str], report: Report) -> tuple[list[Artefact], list[Artefact]]:
    """(everything, what `folder` lacks), without writing to it."""
    with TemporaryDirectory(prefix="llm-bundle-") as temporary, Web(report) as web:
        found = plan(needs, Path(temporary), installed, web, report)
    return found, [one for one in found if not one.is_at(folder / one.path)]


def make(
    needs: Needs, folder: Path, installed: Sequence[str], report: Report, prune: bool = False, forget: bool = False
) -> Outcome:
    """Have `folder` be a bundle for these hosts, besides those of other systems that it is one for already.

    Until everything is known to be had, nothing in the bundle changes. Cut off at any point, it goes on from there when run again.

    :param prune: remove the files that no host needs.
    :param forget: leave out hosts of this system that the bundle had and this run does not name.
    :raises BundleError: where something cannot be had, or somebody else is at work in the directory.
    """
    if manifest.is_foreign(folder):
        raise BundleError(
            str(folder),
            "holds files that are not a bundle's",
            "name an empty directory, or one that does not exist yet",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), Web(report) as web:
        earlier = manifest.read(folder) or manifest.read(folder, manifest.PREVIOUS)
        _nobody_forgotten(needs, earlier, forget)
        found = plan(needs, folder / manifest.PLANNING, installed, web, report)
        missing = [one for one in found if not one.is_at(folder / one.path)]
        _room(folder, missing)
        if (folder / manifest.NAME).is_file():  # from here on it is not whole
            (folder / manifest.NAME).replace(folder / manifest.PREVIOUS)
        fetched = _fetch(missing, folder, web, report)
        made = _manifest(needs, found, folder, earlier)
        shutil.rmtree(folder / manifest.PLANNING, ignore_errors=True)
        left = manifest.others(folder, made)
        if prune:
            remove(folder, left)
        manifest.write(folder, made)
        (folder / manifest.PREVIOUS).unlink(missing_ok=True)
    return Outcome(made, fetched, left)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time in a directory; the lock goes with the process that holds it."""
    with (folder / manifest.MARK).open("a") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(str(folder), "another run of make is at work there", "wait for it, or end it") from None
        yield


def _nobody_forgotten(needs: Needs, earlier: Manifest | None, forget: bool) -> None:
    """The files of a bundle are known by system, not by host: a run for some of its hosts would drop the others' files."""
    gone = sorted({*(earlier.hosts.get(needs.system.name, []) if earlier else [])} - {*needs.hosts})
    if gone and not forget:
        raise BundleError(
            "hosts", f"{', '.join(gone)} of this bundle would be left out",
            "name all hosts of this system in one run, or leave those out with --forget",
        )  # fmt: skip


def _room(folder: Path, missing: Iterable[Artefact]) -> None:
    wanted = sum(max(0, one.bytes_to_come - size_of(part_of(folder / one.path))) for one in missing)
    free = shutil.disk_usage(folder).free
    if wanted + RESERVE_BYTES > free:
        raise BundleError(
            str(folder), f"{wanted / 1e9:.1f} GB are still to come, {free / 1e9:.1f} GB are free",
            "name a directory on a larger file system; nothing of what came is lost",
        )  # fmt: skip


def _fetch(missing: Sequence[Artefact], folder: Path, web: Web, report: Report) -> int:
    total, told, fetched = sum(one.bytes_to_come for one in missing), time.monotonic(), 0
    report(f"{len(missing)} files to fetch, {total / 1e6:,.0f} MB and those whose size is not told")
    for number, artefact in enumerate(missing, 1):
        planned, target = folder / manifest.PLANNING / artefact.path, folder / artefact.path
        if artefact.is_at(planned):
            target.parent.mkdir(parents=True, exist_ok=True)
            planned.replace(target)
            fetched += target.stat().st_size
        else:
            fetched += have(artefact, folder, web)
        if time.monotonic() - told > 2:
            told = time.monotonic()
            report(f"  {number}/{len(missing)}, {fetched / 1e6:,.0f} MB: {artefact.path}")
    return fetched


def _manifest(needs: Needs, found: Sequence[Artefact], folder: Path, earlier: Manifest | None) -> Manifest:
    """The new list: these files for this system, and those of other systems as they were."""
    own, files = needs.system.name, {}
    for path, entry in (earlier.files if earlier else {}).items():
        if rest := tuple(name for name in entry.systems if name != own):
            files[path] = Entry(entry.sha256, entry.size, rest)
    for artefact in found:
        file = folder / artefact.path
        systems = {own, *(files[artefact.path].systems if artefact.path in files else ())}
        files[artefact.path] = Entry(artefact.digest_at(file), file.stat().st_size, tuple(sorted(systems)))
    hosts = {**(earlier.hosts if earlier else {}), own: list(needs.hosts)}
    return Manifest(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), revision(), hosts, files)


def revision() -> str:
    """The commit of this project, "" outside a clone."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files of the bundle's directory, and the directories that are empty then."""
    for name in names:
        file = folder / name
        file.unlink(missing_ok=True)
        for parent in file.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
