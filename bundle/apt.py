"""Packages: the archives' signed indexes as they are, and those packages that a host can need, as apt itself finds them.

The indexes are not cut down: a host's apt checks the signatures of Debian, Ubuntu, NVIDIA and Docker, not one of ours. apt runs on
an empty list of installed packages, so the bundle does not depend on what a host has already.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, unquote, urlsplit

from bundle.artefacts import Artefact, digest_of
from bundle.errors import BundleError
from bundle.fetching import Report, Web, have
from bundle.needs import ARCHITECTURE, Group, Key, Repository, System
from roles.distribution import ONLY
from roles.driver_packages import BESIDE_FABRIC, FABRIC
from roles.host_programs import load
from roles.nvidia.plan import DriverPlan

DISTRIBUTIONS = ("Debian", "Ubuntu")


@dataclass(frozen=True)
class Placed:
    """A repository whose address is known and whose indexes lie in `root`."""

    repository: Repository
    uri: str
    keyring: str


def system_of_this_machine() -> System:
    """From os-release. Raises BundleError for a system that is not Debian or Ubuntu."""
    release = platform.freedesktop_os_release()
    system = System(*(release.get(key, "") for key in ("ID", "VERSION_ID", "VERSION_CODENAME")))
    if system.os not in ("debian", "ubuntu"):
        raise BundleError(
            "this machine", f"runs {system.os or 'an unknown system'}; packages are found by apt",
            "make the bundle on a machine, or in a container, with the hosts' system",
        )  # fmt: skip
    if platform.machine() != "x86_64":
        raise BundleError(
            "this machine", f"is {platform.machine()}; hosts are x86_64", "make the bundle on such a machine"
        )
    return system


def own_uris(suites: Set[str], scratch: Path) -> dict[str, str]:
    """By suite, the address that this machine's own apt has the distribution's packages from.

    Who an archive is by, its release file says; a machine whose lists were cleaned, as in a container, gets it once more.
    """
    found = parse_targets(_targets().stdout)
    if suites - found.keys():
        lists = scratch / "own-lists"
        (lists / "partial").mkdir(parents=True)
        options = ("-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root")
        _run(["apt-get", "update", *options], check=False)  # somebody else's broken source is not ours to judge
        found |= parse_targets(_targets(*options).stdout)
    return found


def _targets(*options: str) -> subprocess.CompletedProcess[str]:
    form = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    return _run(["apt-get", "indextargets", *options, "--format", form, "Created-By: Packages"])


def parse_targets(text: str) -> dict[str, str]:
    """Address by suite, of the distribution's archives, from `apt-get indextargets`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        origin, suite, component, uri = line.split("|")
        if origin in DISTRIBUTIONS and component == "main" and urlsplit(uri).scheme in ("http", "https"):
            found.setdefault(suite, uri.rstrip("/"))
    return found


def plan(
    repositories: Sequence[Repository], groups: Sequence[Group], drivers: Sequence[DriverPlan], installed: Sequence[str],
    root: Path, scratch: Path, web: Web, report: Report,
) -> Iterator[Artefact]:  # fmt: skip
    """Keys, indexes and packages. Keys and indexes are in `root` when this ends.

    :param installed: packages that the hosts have besides, so that they can move along with what depends on them.
    :param scratch: an empty directory for apt's state.
    :raises BundleError: where a key is not the expected one, an index is not signed, or apt finds no way.
    """
    unknown = {one.suite for one in repositories if not one.uri}
    own = own_uris(unknown, scratch) if unknown else {}
    placed = []
    for repository in repositories:
        report(f"  {repository.folder} {repository.suite}")
        found = repository.uri or own.get(repository.suite, "")
        if not found:
            raise BundleError(
                f"suite {repository.suite}", "this machine's apt has no source for it",
                "add the source to apt; or name an address: --mirror distribution=URL",
            )  # fmt: skip
        keyring = repository.keyring
        if repository.key is not None:
            key = key_of(repository.key, scratch, web)
            web.download(key, root / key.path)
            yield key
            keyring = str(root / key.path)
        for index in indexes(repository, found, web):
            have(index, root, web)
            yield index
        placed.append(Placed(repository, found, keyring))
    apt = Apt(placed, root, scratch)
    yield from _packages(apt, groups, drivers, installed, report)


def _packages(
    apt: Apt, groups: Sequence[Group], drivers: Sequence[DriverPlan], installed: Sequence[str], report: Report
) -> Iterator[Artefact]:
    seen: set[str] = set()

    def once(found: list[Artefact]) -> Iterator[Artefact]:
        for one in found:
            if one.path not in seen:
                seen.add(one.path)
                yield one

    for group in groups:
        report(f"  packages: {group.about}")
        packages = apt.docker(group) if group.engine else group.packages
        yield from once(apt.closure(group.about, packages))
        if group.recommends:
            yield from once(apt.closure(group.about, packages, recommends=True))
    if found := apt.known(installed):
        report(f"  packages: {len(found)} that the hosts have")
        yield from once(apt.packages_themselves(found))
    program = load(Path("roles/nvidia/host/install-driver"))
    for driver in drivers:
        report(f"  packages: driver {driver.branch}, {driver.kind} modules")
        yield from once(apt.driver(driver, program))
    fabric = apt.known(FABRIC)
    if drivers and len(fabric) < len(FABRIC):
        report(
            f"  no {' and no '.join(sorted({*FABRIC} - {*fabric}))} in the archives: hosts with NVSwitches cannot be deployed"
        )
    for driver in {(one.branch, one.version): one for one in drivers}.values():
        report(f"  packages: driver {driver.branch} for NVSwitch")
        switched = replace(driver, packages=(*driver.packages, *fabric), beside=tuple(apt.known(BESIDE_FABRIC)))
        yield from once(apt.driver(switched, program))


def key_of(key: Key, scratch: Path, web: Web) -> Artefact:
    """A vendor's key, compared as add-repository compares it on a host. Raises BundleError for another one."""
    content = web.get(key.url).content
    home = scratch / "gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    file = home / "key"
    file.write_bytes(content)
    if key.sha256 and (seen := digest_of(file)) != key.sha256:
        raise BundleError(
            key.url, f"has sha256 {seen}, not {key.sha256}", "is it the vendor's? The settings name what is expected"
        )
    done = _run(["gpg", "--homedir", str(home), "--batch", "--show-keys", "--with-colons", str(file)], check=False)
    seen = next((line.split(":")[9] for line in done.stdout.splitlines() if line.startswith("fpr:")), "none")
    if seen != key.fingerprint:
        raise BundleError(
            key.url, f"has fingerprint {seen}, not {key.fingerprint or '(none is known: nvidia.key_fingerprint)'}",
            "is it the vendor's? The settings name what is expected",
        )  # fmt: skip
    return Artefact(key.path, content=content)


def indexes(repository: Repository, uri: str, web: Web) -> Iterator[Artefact]:
    """InRelease, and of what it signs the lists that apt asks for. Raises BundleError."""
    flat = repository.suite == "/"
    below = "" if flat else f"dists/{repository.suite}/"
    release = web.get(f"{uri.rstrip('/')}/{below}InRelease")
    yield Artefact(f"{repository.folder}/{below}InRelease", content=release.content)
    signed = signed_files(release.text)
    stems = ["Packages"] if flat else []
    for component in repository.components:
        stems += [f"{component}/binary-{ARCHITECTURE}/Packages", f"{component}/i18n/Translation-en"]
    for stem in stems:
        is_needed = stem.endswith("Packages")
        # Not in the clear where it is to be had packed; an archive signs lists that it does not keep.
        packed = [f"{stem}{suffix}" for suffix in (".xz", ".gz", *(() if is_needed else (".bz2",)))]
        found = _lists(packed, signed, f"{uri.rstrip('/')}/{below}", web)
        found = found or _lists([stem], signed, f"{uri.rstrip('/')}/{below}", web)
        if is_needed and not found:
            raise BundleError(f"{uri}/{below}{stem}", "the archive has no such list", "is the mirror whole?")
        for name, url in found:
            digest, size = signed[name]
            yield Artefact(f"{repository.folder}/{below}{name}", url, sha256s=(digest,), size=size)


def _lists(names: Sequence[str], signed: Mapping[str, tuple[str, int]], base: str, web: Web) -> list[tuple[str, str]]:
    """(name, address) of those that are signed and there: by content, which no update takes away meanwhile, or by name."""
    found = []
    for name in (one for one in names if one in signed):
        folder, slash, _ = name.rpartition("/")
        addresses = (f"{base}{folder}{slash}by-hash/SHA256/{signed[name][0]}", f"{base}{name}")
        if there := next(filter(web.exists, addresses), None):
            found.append((name, there))
    return found


def signed_files(release: str) -> dict[str, tuple[str, int]]:
    """(sha256, bytes) by name, of everything that a release file vouches for."""
    section = re.search(r"^SHA256:\s*\n((?:[ \t]+.*\n?)*)", release, re.MULTILINE)
    rows = (line.split() for line in section[1].splitlines()) if section else iter(())
    return {row[2]: (row[0], int(row[1])) for row in rows if len(row) == 3}


def parse_uris(text: str) -> list[tuple[str, int, str]]:
    """(path, bytes, sha256) from apt's `--print-uris` over `file:` sources."""
    rows = re.findall(r"^'file:([^']+)' \S+ (\d+) SHA256:([0-9a-f]{64})$", text, re.MULTILINE)
    return [(re.sub("^/+", "/", unquote(address)), int(size), digest) for address, size, digest in rows]


class Apt:
    """apt over the indexes in `root`, with nothing installed. Raises BundleError where it does not believe them."""

    def __init__(self, placed: Sequence[Placed], root: Path, scratch: Path) -> None:
        self._placed, self._root = placed, root
        self._state = scratch / "apt"
        self._preferences = self._state / "preferences.d"
        for part in ("lists/partial", "archives/partial", "preferences.d"):
            (self._state / part).mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        (self._state / "all.sources").write_text("\n".join(self._source(one) for one in placed), encoding="utf-8")
        self._command(["apt-get", "update", "--error-on=any"], "the archives' indexes")

    def _source(self, one: Placed) -> str:
        where = (self._root / one.repository.folder).resolve().as_uri()
        lines = ["Types: deb", f"URIs: {where}", f"Suites: {one.repository.suite}", *ONLY]
        if one.repository.components:
            lines.append(f"Components: {' '.join(one.repository.components)}")
        return "\n".join([*lines, f"Signed-By: {one.keyring}", ""])

    def known(self, names: Sequence[str]) -> list[str]:
        """Those of the names that the archives have."""
        found = self._command(["apt-cache", "pkgnames"], "the archives").stdout.split()
        return sorted({*names} & {*found})

    def closure(self, about: str, packages: Sequence[str], recommends: bool = False) -> list[Artefact]:
        """What a host without any package would download for these."""
        option = "--install-recommends" if recommends else "--no-install-recommends"
        command = ["apt-get", "install", "--print-uris", "--yes", option, *packages]
        return [self._artefact(*row) for row in parse_uris(self._command(command, f"packages of {about}").stdout)]

    def packages_themselves(self, names: Sequence[str]) -> list[Artefact]:
        """Without what they depend on, which a host that has them has too."""
        found = self._command(["apt-get", "download", "--print-uris", *names], "packages that the hosts have").stdout
        return [self._artefact(*row) for row in parse_uris(found)]

    def docker(self, group: Group) -> list[str]:
        """Docker's packages as install-docker, the host's own program, would choose them. Raises BundleError."""
        program = load(Path("roles/docker/host/install-docker"))
        listed = self._command(["apt-cache", "madison", *group.packages], "Docker").stdout
        try:
            chosen: list[str] = program.choose(
                group.packages, group.engine, group.version, program.parse_madison(listed), {}
            )
        except program.Refusal as refusal:
            raise BundleError("Docker", str(refusal), "docker.version and docker.source decide") from None
        return chosen

    def driver(self, plan: DriverPlan, program: ModuleType) -> list[Artefact]:
        """The driver as install-driver, the host's own program, would choose it. Raises BundleError."""
        listed = self._command(["apt-cache", "madison", plan.pinning, *plan.packages], "the driver").stdout
        try:
            best, wanted = program.choose(plan.packages, program.parse_madison(listed), plan.branch, plan.version)
        except program.Refusal as refusal:
            raise BundleError(
                "driver", str(refusal), "nvidia.branch, nvidia.version and nvidia.modules decide"
            ) from None
        preference = self._preferences / "driver.pref"
        preference.write_text(program.pin(f"{best}-*"), encoding="utf-8")
        try:
            return self.closure(f"driver {best}", [plan.pinning, *wanted, *plan.beside])
        finally:
            preference.unlink()

    def _artefact(self, path: str, size: int, digest: str) -> Artefact:
        for one in self._placed:
            folder = (self._root / one.repository.folder).resolve()
            if Path(path).is_relative_to(folder):
                name = Path(path).relative_to(folder).as_posix()
                url = f"{one.uri.rstrip('/')}/{quote(name, safe='/+~:')}"
                return Artefact(f"{one.repository.folder}/{name}", url, sha256s=(digest,), size=size)
        raise BundleError(path, "is in none of the archives", "this is a fault of the bundle command; please report it")

    def _command(self, command: list[str], about: str) -> subprocess.CompletedProcess[str]:
        settings = (
            f"Dir::Etc::SourceList={self._state}/all.sources", "Dir::Etc::SourceParts=/dev/null",
            f"Dir::Etc::PreferencesParts={self._preferences}", "Dir::Etc::Preferences=/dev/null",
            f"Dir::State::lists={self._state}/lists", f"Dir::State::status={self._state}/status",
            f"Dir::State::extended_states={self._state}/extended", f"Dir::Cache={self._state}",
            f"Dir::Cache::archives={self._state}/archives", "APT::Sandbox::User=root", "Acquire::ForceHash=SHA256",
            f"APT::Architecture={ARCHITECTURE}", f"APT::Architectures={ARCHITECTURE}", "Acquire::Languages=en",
            "APT::Get::AllowUnauthenticated=false", "Dir::Etc::Trusted=/dev/null", "Dir::Etc::TrustedParts=/dev/null",
        )  # fmt: skip
        options = [word for setting in settings for word in ("-o", setting)]
        done = _run([command[0], *options, *command[1:]], check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
            raise BundleError(
                about,
                "\n".join(said) or done.stderr.strip() or done.stdout.strip()[-2000:],
                "is the mirror whole and up to date?",
            )
        return done


def _run(command: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise BundleError(
            command[0], "is not on this machine", "apt-get install apt gpg, on the hosts' system"
        ) from None
    if check and done.returncode != 0:
        raise BundleError(" ".join(command[:2]), done.stderr.strip(), "run it by hand to see more")
    return done
