"""Docker's own apt repository, laid out as on download.docker.com and signed with the lab's key.

Names, relations and versions are those of Docker's packages, the programs in them are real: Debian 13's Docker 26.1.5, which
runs on Debian 12 too; runc and tini are those of the machine's own suite. The two versions of Docker differ in their number
alone. 90 MB are fetched when somebody asks for it, so a demo does without.
"""

from __future__ import annotations

import gzip
import platform
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lab.mirror import cache, debs, distribution_packages
from lab.mirror.apt_site import MACHINES
from lab.mirror.cache import CacheError

CONTENT_SUITE = "trixie"
CONTENT = ("docker.io", "docker-cli", "containerd", "docker-compose", "docker-buildx")
OWN_CONTENT = ("runc", "tini")  # those of Debian 13 need a newer libc
NUMBERS = {"bookworm": "12", "trixie": "13"}
ENGINES = ("26.1.4", "26.1.5")
WORDS = "Docker's package as the lab has it: name and relations of the real one, programs of Debian."

# As debhelper writes them; Docker's packages have the same.
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    PREPARE
    for unit in UNITS; do
        deb-systemd-helper unmask $unit >/dev/null || true
        if deb-systemd-helper --quiet was-enabled $unit; then deb-systemd-helper enable $unit >/dev/null || true; fi
    done
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke $action UNITS >/dev/null || true
    fi
fi
"""
PRERM = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop UNITS >/dev/null || true
fi
"""
POSTRM = """#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi
if [ "$1" = remove ]; then deb-systemd-helper mask UNITS >/dev/null || true; fi
if [ "$1" = purge ]; then deb-systemd-helper purge UNITS >/dev/null; deb-systemd-helper unmask UNITS >/dev/null; fi
"""


@dataclass(frozen=True)
class Package:
    """One of Docker's packages: what it holds, and what it says of others. Source: the control files that Docker publishes."""

    name: str
    content: tuple[str, ...]
    depends: tuple[str, ...] = ()
    relations: dict[str, str] = field(default_factory=dict)
    units: str = ""
    prepare: str = ":"

    @property
    def scripts(self) -> dict[str, str]:
        texts = {"postinst": POSTINST.replace("PREPARE", self.prepare), "prerm": PRERM, "postrm": POSTRM}
        return {name: text.replace("UNITS", self.units) for name, text in texts.items()} if self.units else {}


OLDER = "docker (<< 1.5~), docker-engine, docker.io"
ENGINE = (
    Package(
        "docker-ce", ("docker.io", "tini"),
        ("containerd.io (>= 1.6.24)", "docker-ce-cli", "iptables", "libc6 (>= 2.34)", "libsystemd0"),
        {"Pre-Depends": "init-system-helpers (>= 1.54~)", "Conflicts": OLDER, "Replaces": "docker-engine"},
        units="docker.service docker.socket",
        prepare="getent group docker >/dev/null || groupadd --system docker",
    ),
    Package(
        "docker-ce-cli", ("docker-cli",), ("libc6 (>= 2.34)",),
        {"Recommends": "docker-buildx-plugin, docker-compose-plugin", "Conflicts": OLDER,
         "Replaces": "docker-ce (<< 5:0)", "Breaks": "docker-ce (<< 5:0)"},
    ),
)  # fmt: skip
OTHERS = {
    "1.7.24-1": Package(
        "containerd.io", ("containerd", "runc"), ("libc6 (>= 2.34)", "libseccomp2"),
        {name: "containerd, runc" for name in ("Provides", "Conflicts", "Replaces")}, units="containerd.service",
    ),
    "0.13.1-1": Package(
        "docker-buildx-plugin", ("docker-buildx",), (), {"Replaces": "docker-ce-cli", "Enhances": "docker-ce-cli"}
    ),
    "2.26.1-1": Package(
        "docker-compose-plugin", ("docker-compose",), (),
        {"Enhances": "docker-ce-cli", **{name: "docker-compose" for name in ("Conflicts", "Replaces", "Breaks")}},
    ),
}  # fmt: skip


def folder(root: Path) -> Path:
    """Where the repository is served from; `ensure` makes it."""
    here = Path(__file__).parent
    sources = [here / f"{name}.py" for name in ("docker_site", "distribution_packages", "debs")]
    return root / f"docker-{cache.key_of(*sources, debs.signing_key(root).fingerprint, platform.machine())}"


def ensure(root: Path) -> Path:
    """The folder served under `/docker/`, made if missing. Raises CacheError where this machine's mirror has no Debian 13."""
    debs.require_tools()
    return cache.build_once(folder(root), partial(_make, debs.signing_key(root)))


def full_version(engine: str, suite: str) -> str:
    """Docker's version of the engine for a suite: "5:26.1.5-1~debian.12~bookworm"."""
    return f"5:{engine}-1~{_suffix(suite)}"


def _suffix(suite: str) -> str:
    return f"debian.{NUMBERS[suite]}~{suite}"


def _make(key: debs.SigningKey, target: Path) -> None:
    suite, (_, architecture) = distribution_packages.machine_suite(), MACHINES[platform.machine()]
    if suite not in NUMBERS:
        raise CacheError(f"the lab has Docker's packages for Debian's {' and '.join(NUMBERS)}, not for {suite}")
    content = target / "content"
    content.mkdir()
    fetched = distribution_packages.fetch(CONTENT_SUITE, CONTENT, content)
    fetched |= distribution_packages.fetch(suite, OWN_CONTENT, content)
    base = target / "linux" / "debian"
    pool = base / "dists" / suite / "pool" / "stable" / architecture
    pool.mkdir(parents=True)
    for package in (*ENGINE, *OTHERS.values()):
        tree = content / package.name
        for name in package.content:
            debs.run("dpkg-deb", "--extract", str(fetched[name]), str(tree))
        _as_docker_lays_it_out(tree)
        engines = [full_version(engine, suite) for engine in ENGINES]
        others = [f"{version}~{_suffix(suite)}" for version, other in OTHERS.items() if other is package]
        for version in others or engines:
            cache.say(f"docker: {package.name} {version}")
            conffiles = tuple(f"/{path.relative_to(tree)}" for path in sorted(tree.glob("etc/**/*")) if path.is_file())
            deb = debs.Deb(
                package.name, version, "Docker, the container engine", architecture, package.name, package.depends,
                package.relations, conffiles=conffiles, scripts=package.scripts, content=tree, words=WORDS,
            )  # fmt: skip
            debs.build(deb, pool)
    shutil.rmtree(content)
    _publish(base, suite, architecture, key)


def _as_docker_lays_it_out(tree: Path) -> None:
    """Docker's packages have the daemon in /usr/bin and bring docker-init; texts for people are left out."""
    for part in ("usr/share", "usr/lib/udev"):
        shutil.rmtree(tree / part, ignore_errors=True)
    for program in [*tree.glob("usr/sbin/*")]:
        program.rename(tree / "usr" / "bin" / program.name)
    for unit in tree.glob("usr/lib/systemd/system/*.service"):
        unit.write_text(unit.read_text().replace("/usr/sbin/", "/usr/bin/"))
    for emptied in ("usr/sbin", "usr/lib"):
        if (tree / emptied).is_dir() and not any((tree / emptied).rglob("*")):
            (tree / emptied).rmdir()
    if (tree / "usr/bin/tini-static").is_file():
        (tree / "usr/bin/docker-init").unlink(missing_ok=True)
        (tree / "usr/bin/tini-static").rename(tree / "usr/bin/docker-init")
        (tree / "usr/bin/tini").unlink(missing_ok=True)


def _publish(base: Path, suite: str, architecture: str, key: debs.SigningKey) -> None:
    """Index and sign it: `<base>/dists/<suite>/stable/binary-<architecture>/Packages`, the key as `<base>/gpg`."""
    dists = base / "dists" / suite
    index = dists / "stable" / f"binary-{architecture}"
    index.mkdir(parents=True)
    packages = debs.run("apt-ftparchive", "packages", f"dists/{suite}/pool/stable/{architecture}", cwd=base)
    (index / "Packages").write_bytes(packages)
    (index / "Packages.gz").write_bytes(gzip.compress(packages, mtime=0))
    names = {
        "Origin": "Docker", "Label": "Docker CE", "Suite": suite, "Codename": suite, "Architectures": architecture,
        "Components": "stable",
    }  # fmt: skip
    options = [word for name, value in names.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    release = debs.run("apt-ftparchive", *options, "release", f"dists/{suite}", cwd=base)
    (dists / "Release").write_bytes(release)
    debs.sign(dists, key)
    (base / "gpg").write_bytes(key.public(armored=True))
