"""Third-party apt repositories: where they are, and the operation that adds one only with the key we expect."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from roles.layout import LIBEXEC, digest
from roles.pins import pins

if TYPE_CHECKING:
    from roles.site import Site

KEYRINGS = "/etc/apt/keyrings"


def cuda_distribution(os: str, os_version: str) -> str:
    """NVIDIA's word for a distribution: "debian12", "ubuntu2404"."""
    return f"{os}{os_version.replace('.', '')}"


def cuda_repository(site: Site, os: str, os_version: str) -> str:
    """NVIDIA's flat repository of driver packages for a distribution; `os_version` as in os-release ("12", "24.04")."""
    return f"{site.mirrors.cuda_repositories.rstrip('/')}/{cuda_distribution(os, os_version)}/x86_64"


def cuda_fingerprint(site: Site, os: str, os_version: str) -> str | None:
    """Of the key that must sign that repository: the setting, else the pin; None when neither knows it."""
    return site.nvidia.key_fingerprint or pins().nvidia.fingerprints.get(cuda_distribution(os, os_version))


def cuda_key(os: str, os_version: str) -> str:
    """File name of that repository's key. Source: the listing of the CUDA network repository, August 2026."""
    return "8793F200.pub" if (os, os_version) == ("debian", "13") else "3bf863cc.pub"


def toolkit_repository(site: Site) -> str:
    """NVIDIA's flat repository of the container toolkit."""
    return f"{site.mirrors.container_toolkit.rstrip('/')}/stable/deb/amd64"


def toolkit_key(site: Site) -> str:
    """Where that repository's key is."""
    return f"{site.mirrors.container_toolkit.rstrip('/')}/gpgkey"


def toolkit_fingerprint(site: Site) -> str:
    """Of the key that must sign that repository."""
    return site.nvidia.toolkit_key_fingerprint or pins().nvidia.toolkit_fingerprint


def docker_repository(site: Site, os: str) -> str:
    """Docker's repository for a distribution; its key is `gpg` there."""
    return f"{site.mirrors.docker.rstrip('/')}/{os}"


class Repository(FactBase[str]):
    """Which source of ours is in place: the hash in the head of its file, or "" where file or keyring is missing."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, repository: str) -> str:
        source = f"/etc/apt/sources.list.d/{repository}.sources"
        return f"test -s {KEYRINGS}/{repository}.gpg && sed -n 's/^# written-from: //p' {source} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return output[0] if output else ""


def source_text(name: str, uri: str, suite: str, components: str, stamp: str) -> str:
    """One deb822 source, signed by its own keyring."""
    lines = [f"# written-from: {stamp}", "Types: deb", f"URIs: {uri}", f"Suites: {suite}"]
    if components:  # a flat repository (suite "/") has none
        lines.append(f"Components: {components}")
    return "\n".join([*lines, f"Signed-By: {KEYRINGS}/{name}.gpg", ""])


@operation()
def apt_repository(
    repository: str, uri: str, suite: str, components: str, key_url: str, fingerprint: str, key_sha256: str = ""
) -> Generator[StringCommand, None, None]:
    """Have an apt source whose packages are signed by exactly the key with `fingerprint` (40 hex digits).

    The key is fetched to a temporary file and compared before anything is put in place; other sources of the same repository
    are moved aside.

    :param key_sha256: of the key's file, 64 hex digits; "" compares the fingerprint alone.
    """
    stamp = digest(uri, suite, components, fingerprint)
    if host.get_fact(Repository, repository=repository) == stamp:
        host.noop(f"{repository} is there")
        return
    text = source_text(repository, uri, suite, components, stamp)
    yield StringCommand(
        "printf",
        "%s",
        QuoteString(text),
        "|",
        f"{LIBEXEC}/add-repository",
        repository,
        QuoteString(key_url),
        fingerprint,
        key_sha256,
    )
