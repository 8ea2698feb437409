"""Debian packages and a signed flat repository of them, with Debian's own tools."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.mirror.cache import CacheError, locked

# A fixed date keeps the bytes of a package the same on every build.
BUILT_AT = 1_790_000_000
TOOLS = {"dpkg-deb": "dpkg", "apt-ftparchive": "apt-utils", "gpg": "gnupg", "gpgconf": "gnupg"}
MAINTAINER = "LLM lab <lab@localhost>"


@dataclass(frozen=True)
class Deb:
    """One binary package. `files` maps absolute paths to contents; those below a `bin` folder become executable."""

    name: str
    version: str
    summary: str
    architecture: str = "all"
    source: str = ""
    depends: tuple[str, ...] = ()
    relations: Mapping[str, str] = field(default_factory=dict)  # Provides, Conflicts, Breaks …
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    conffiles: tuple[str, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)  # postinst, prerm …
    content: Path | None = None  # a tree of files to put in, beside `files`
    words: str = "A stand-in of the lab: it has the name of the real package and none of its contents."

    @property
    def file_name(self) -> str:
        version = self.version.rpartition(":")[2]  # as everywhere, without the epoch
        return f"{self.name}_{version}_{self.architecture}.deb"

    def control(self) -> str:
        """The control file; every description says that this is a stand-in."""
        fields = {
            "Package": self.name,
            "Source": self.source or self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": MAINTAINER,
            "Section": "misc",
            "Priority": "optional",
            "Depends": ", ".join(self.depends),
            **self.relations,
            "Description": f"{self.summary} (stand-in)\n {self.words}",
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def require_tools() -> None:
    """Raise CacheError that names the missing Debian packages."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise CacheError(f"the lab's apt repository needs {', '.join(missing)}; apt-get install {' '.join(missing)}")


def run(*command: str, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    """Standard output of a tool with a fixed clock. Raises CacheError with the tool's own words."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(BUILT_AT), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, env=environment, timeout=300)
    if done.returncode != 0:
        raise CacheError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def build(deb: Deb, folder: Path) -> Path:
    """Build one package into `folder`."""
    tree = folder / f".{deb.name}.tree"
    shutil.rmtree(tree, ignore_errors=True)
    if deb.content:
        # Links: a tree of hundreds of megabytes is packed, not changed.
        shutil.copytree(deb.content, tree, symlinks=True, copy_function=os.link)
    for path, content in deb.files.items():
        _write(tree / path.lstrip("/"), content, executable="bin" in Path(path).parts)
    _write(tree / "DEBIAN" / "control", deb.control())
    if deb.conffiles:
        _write(tree / "DEBIAN" / "conffiles", "".join(f"{path}\n" for path in deb.conffiles))
    for name, script in deb.scripts.items():
        _write(tree / "DEBIAN" / name, script, executable=True)
    for made in [tree, *tree.rglob("*")]:
        if made.is_dir():
            made.chmod(0o755)
    target = folder / deb.file_name
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target))
    shutil.rmtree(tree)
    return target


def _write(path: Path, content: str | bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o755 if executable else 0o644)


@dataclass(frozen=True)
class SigningKey:
    """An OpenPGP key without passphrase, made for this cache."""

    home: Path
    fingerprint: str
    options: tuple[str, ...] = ()  # of every call of gpg

    def sign(self, text: bytes, *options: str) -> bytes:
        return self._gpg("--armor", "--digest-algo", "SHA256", *options, stdin=text)

    def public(self, *, armored: bool) -> bytes:
        return self._gpg(*(["--armor"] if armored else []), "--export", self.fingerprint)

    def _gpg(self, *options: str, stdin: bytes | None = None) -> bytes:
        return gpg(self.home, *self.options, "--local-user", self.fingerprint, *options, stdin=stdin)


def gpg(home: Path, *options: str, stdin: bytes | None = None) -> bytes:
    """Run gpg in `home` and leave no agent behind."""
    fixed = ("gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "")
    try:
        return run(*fixed, *options, stdin=stdin)
    finally:
        run("gpgconf", "--homedir", str(home), "--kill", "all")


def signing_key(root: Path) -> SigningKey:
    """The key below the cache folder, made on first use. It outlives rebuilds, so that its fingerprint can be pinned."""
    home, record = root / "apt-key", root / "apt-key" / "fingerprint"
    with locked(home):
        if not record.is_file():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(mode=0o700, parents=True)
            gpg(home, "--quick-generate-key", "LLM lab archive (stand-in) <lab@localhost>", "rsa3072", "sign", "never")
            listing = gpg(home, "--with-colons", "--list-keys").decode()
            found = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
            record.write_text(found + "\n")
    return SigningKey(home, record.read_text().strip())


def expired_key(home: Path) -> SigningKey:
    """A key in `home` that expired in 2020. gpg alone is told that it is still that day; no clock is touched."""
    home.chmod(0o700)
    then = ("--faked-system-time", "20200101T000000!")
    gpg(home, *then, "--quick-generate-key", "LLM lab expired (stand-in) <lab@localhost>", "rsa3072", "sign", "1d")
    listing = gpg(home, "--with-colons", "--list-keys").decode()
    found = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
    return SigningKey(home, found, then)


def publish(folder: Path, key: SigningKey, *, origin: str, label: str) -> None:
    """Turn a folder of packages into a flat, signed repository (suite `/`)."""
    packages = run("apt-ftparchive", "packages", ".", cwd=folder)
    (folder / "Packages").write_bytes(packages)
    (folder / "Packages.gz").write_bytes(gzip.compress(packages, mtime=0))
    names = {"Origin": origin, "Label": label, "Suite": "", "Description": "stand-in packages of the lab"}
    options = [part for name, value in names.items() for part in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    release = run("apt-ftparchive", *options, "release", ".", cwd=folder)
    (folder / "Release").write_bytes(release)
    sign(folder, key)


def sign(folder: Path, key: SigningKey) -> None:
    """Sign the Release file of a repository, in both forms."""
    release = (folder / "Release").read_bytes()
    (folder / "InRelease").write_bytes(key.sign(release, "--clear-sign"))
    (folder / "Release.gpg").write_bytes(key.sign(release, "--detach-sign"))
