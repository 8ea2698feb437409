"""Software in directories of its own, one per version, with `current` pointing to the one in use.

A directory counts once its `.complete` marker is there. Without it the directory is the rest of an aborted run and is made anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from urllib.parse import urlsplit

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.facts.files import File

from roles.layout import CACHE, OPT, Release, uv_release

Commands = Generator[StringCommand, None, None]


@operation()
def release_installed(release: Release, commands: Sequence[str]) -> Commands:
    """Have the release's directory complete. `commands` fill it; they see `$RELEASE` and stop at the first failure."""
    if host.get_fact(File, path=release.marker):
        host.noop(f"{release.path} is complete")
        return
    script = "\n".join(
        (
            "set -eu",
            f"RELEASE={shlex.quote(release.path)}",
            f"[ ! -e {shlex.quote(release.marker)} ] || exit 0  # the run that held the lock has finished it",
            'rm -rf "$RELEASE"',
            'mkdir -p "$RELEASE"',
            *commands,
            f"touch {shlex.quote(release.marker)}",
        )
    )
    # An aborted run may still be at work on the host, its operator gone: wait for it instead of pulling its files away.
    yield StringCommand("mkdir", "-p", OPT, "&&", "flock", f"{OPT}/.install.lock", "sh", "-c", QuoteString(script))


def uv() -> str:
    """Path of the uv program on the host."""
    return f"{uv_release().path}/bin/uv"


def uv_environment(python_builds: str | None) -> str:
    """Shell assignments for every uv call: nothing below a home directory, no configuration from outside."""
    values = {
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": f"{CACHE}/uv",
        "UV_PYTHON_INSTALL_DIR": f"{OPT}/python",
        "UV_HTTP_TIMEOUT": "120",
        "UV_NO_PROGRESS": "1",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    if python_builds:
        values["UV_PYTHON_INSTALL_MIRROR"] = python_builds
    return "export " + " ".join(f"{key}={shlex.quote(value)}" for key, value in values.items())


def index_option(python_index: str | None) -> str:
    """uv's option for the site's package index; nothing for the built-in one."""
    return f"--default-index {shlex.quote(python_index)}" if python_index else ""


def bootstrap_uv_commands(python_index: str | None) -> list[str]:
    """Fill uv's release: the distribution's Python makes an environment, pip puts the pinned wheel into it."""
    index = ""
    if python_index:
        index = f"--index-url {shlex.quote(python_index)}"
        if python_index.startswith("http://"):  # the hashes of the lock stand in for TLS
            index += f" --trusted-host {shlex.quote(urlsplit(python_index).hostname or '')}"
    return [
        'python3 -m venv "$RELEASE"',
        f'"$RELEASE/bin/pip" install --quiet --isolated --disable-pip-version-check {index} '
        f"--no-deps --require-hashes -r {OPT}/locks/uv.lock",
        '"$RELEASE/bin/uv" --version',
    ]
