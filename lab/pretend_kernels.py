"""Kernels for a lab host that pretends to have a card: packages with the true names, offered by a repository on the host itself.

pretend_kernels.offer(host, "6.1.0-90-amd64", "6.1.0-99-amd64")
host.ssh("apt-get install linux-image-6.1.0-99-amd64")      the next boot "runs" it; see stand_ins/kernel_stand_in.py

As with the real ones dpkg runs /etc/kernel/postinst.d, where the distribution sets its reboot flag.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.mirror import debs
from lab.mirror.debs import Deb

if TYPE_CHECKING:
    from lab.host import Host

FOLDER = "/srv/llm-lab-kernels"
SOURCE = "/etc/apt/sources.list.d/llm-lab-kernels.list"
HOOKS = """#!/bin/sh
set -e
if [ "$1" = configure ]; then run-parts --arg="RELEASE" --arg="/boot/vmlinuz-RELEASE" /etc/kernel/postinst.d; fi
"""


def packages(release: str) -> tuple[Deb, Deb]:
    """Image and headers of one kernel."""
    image = Deb(
        f"linux-image-{release}", "1", f"Linux {release}", files={f"/boot/vmlinuz-{release}": f"{release}\n"},
        scripts={"postinst": HOOKS.replace("RELEASE", release)},
    )  # fmt: skip
    makefile = {f"/usr/src/linux-headers-{release}/Makefile": "# nothing to build with\n"}
    return image, Deb(f"linux-headers-{release}", "1", f"headers of Linux {release}", files=makefile)


def flavour(release: str) -> Deb:
    """The package that brings a kernel's headers, newer than the distribution's own of that name."""
    return Deb("linux-headers-amd64", "99", "headers of the newest kernel", depends=(f"linux-headers-{release}",))


def offer(host: Host, *releases: str) -> None:
    """Have the host's apt know image and headers of these kernels; `linux-headers-amd64` brings the first one's headers."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for deb in (flavour(releases[0]), *(deb for release in releases for deb in packages(release))):
            debs.build(deb, folder)
        (folder / "Packages").write_bytes(debs.run("apt-ftparchive", "packages", ".", cwd=folder))
        host.ssh(f"mkdir -p {FOLDER}")
        for file in folder.iterdir():
            host.copy_to(file, f"{FOLDER}/{file.name}")
    host.ssh(f"echo 'deb [trusted=yes] file:{FOLDER} ./' > {SOURCE}; apt-get update -q", timeout=300)
