"""The apt repositories once more, each time with one thing wrong: `/apt/spoilt/<fault>/` in place of `/apt/`.

other-key         signed by a key that nobody published; the key file is still the right one
expired-key       signed by a key that expired in 2020, while it was valid; the key file is that key's
tampered          indexes and signatures are right, nvidia-smi's packages are not: same size, other bytes
missing-version   a driver version that was there (MISSING) is gone; everything is signed
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.mirror.debs import SigningKey, expired_key, sign, signing_key

MISSING = "580.182.01"
KEY_FILES = ("3bf863cc.pub", "gpgkey")


def make(site: Path, publish: Callable[[Path], None]) -> None:
    """Add `spoilt/` to a finished site; `publish` indexes and signs a folder of driver packages anew."""
    good = [path for path in site.iterdir() if path.is_dir()]
    for fault, spoil in FAULTS.items():
        for folder in good:
            # Links: the packages are the same bytes, and whatever a fault changes is written as a new file.
            shutil.copytree(folder, site / "spoilt" / fault / folder.name, copy_function=os.link)
        spoil(site / "spoilt" / fault, publish)


def replace(path: Path, content: bytes) -> None:
    """Write a new file, so that the linked good one keeps its bytes."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def sign_with(site: Path, key: SigningKey) -> None:
    for release in site.rglob("Release"):
        for name in ("InRelease", "Release.gpg"):
            (release.parent / name).unlink()
        sign(release.parent, key)


def other_key(site: Path, publish: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as home:
        sign_with(site, signing_key(Path(home)))


def key_that_expired(site: Path, publish: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as home:
        key = expired_key(Path(home))
        sign_with(site, key)
        for name in KEY_FILES:
            for path in site.rglob(name):
                replace(path, key.public(armored=True))


def tampered(site: Path, publish: Callable[[Path], None]) -> None:
    for path in site.rglob("nvidia-smi_*.deb"):
        content = path.read_bytes()
        replace(path, content[:-1] + bytes([content[-1] ^ 0xFF]))


def missing_version(site: Path, publish: Callable[[Path], None]) -> None:
    for folder in {path.parent for path in site.rglob(f"*_{MISSING}-*.deb")}:
        for path in folder.glob(f"*_{MISSING}-*.deb"):
            path.unlink()
        for name in ("Packages", "Packages.gz", "Release", "InRelease", "Release.gpg"):
            (folder / name).unlink()
        publish(folder)


FAULTS = {
    "other-key": other_key,
    "expired-key": key_that_expired,
    "tampered": tampered,
    "missing-version": missing_version,
}
