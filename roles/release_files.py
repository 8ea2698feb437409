"""The files of a release: rendered by the roles, staged on the host, and put in place together by llm-phase.

A role says which text a path should hold. What differs from the host goes below `NEXT`, beside what is in use, so that a run that
ends early, or a release that is refused, has changed nothing that a service reads. Links to software are staged alike.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FactBase, FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from roles.layout import STATE, Release

NEXT = f"{STATE}/next"
LINK = "link "  # how a link is written among the digests
_wanted: dict[str, dict[str, str]] = {}


def wanted_files(name: str) -> dict[str, str]:
    """By path, the sha256 of each file of the release of this host that the roles have asked for so far, or its link's target."""
    return dict(sorted(_wanted.get(name, {}).items()))


def release_file(name: str, path: str, text: str) -> None:
    """Have the release hold `text` at `path`, owned by root and readable by all. `name` is the line in the plan."""
    _wanted.setdefault(host.name, {})[path] = hashlib.sha256(text.encode()).hexdigest()
    staged_file(name=name, path=path, text=text)


def release_link(name: str, release: Release) -> None:
    """Have `current` of some software point to this version of it, in this release."""
    _wanted.setdefault(host.name, {})[release.current] = LINK + release.name
    staged_link(name=name, path=release.current, target=release.name)


class Staged(FactBase[dict[str, str]]):
    """What will be at a path when the staged release is in place: {"what": its sha256 or link, "at": where that is now}."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str) -> StringCommand:
        new, old = QuoteString(f"{NEXT}/root{path}"), QuoteString(path)
        return StringCommand(
            "f=", new, '; test -e "$f" || test -L "$f" || f=', old, '; if test -L "$f"; then echo "link $(readlink "$f")"; '
            'elif test -f "$f"; then h=$(sha256sum < "$f" | cut -c1-64); test "$f" != ', old,
            ' || test "$(stat -c "%a %U" "$f")" = "644 root" || h="$h, with another mode or owner"; echo "$h"; fi; echo "$f"',
            _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> dict[str, str]:
        return {"what": output[0], "at": output[1]} if len(output) == 2 else {}


@operation()
def staged_file(path: str, text: str) -> Generator[FileUploadCommand | StringCommand, None, None]:
    """Have `path` hold `text` once the staged release is in place."""
    found = host.get_fact(Staged, path=path)
    if found.get("what") == hashlib.sha256(text.encode()).hexdigest():
        host.noop(f"{path} holds this")
        return
    if host.state.config.DIFF and not host.state.is_executing:
        present = (host.get_fact(FileContents, path=found["at"]) or []) if found else []
        logger.info(f"{host.print_prefix}Will modify {path}")
        for line in generate_color_diff([f"{one}\n" for one in present], text.splitlines(keepends=True)):
            logger.info(f"{host.print_prefix}  {line.rstrip()}")
    new = f"{NEXT}/root{path}"
    yield StringCommand("mkdir", "-p", QuoteString(new.rpartition("/")[0]))
    yield FileUploadCommand(io.BytesIO(text.encode()), f"{new}.new")
    yield StringCommand("mv", "-fT", QuoteString(f"{new}.new"), QuoteString(new))


@operation()
def staged_link(path: str, target: str) -> Generator[StringCommand, None, None]:
    """Have `path` point to `target` once the staged release is in place."""
    if host.get_fact(Staged, path=path).get("what") == LINK + target:
        host.noop(f"{path} is {target}")
        return
    new = f"{NEXT}/root{path}"
    yield StringCommand("mkdir", "-p", QuoteString(new.rpartition("/")[0]))
    yield StringCommand("ln", "-sfnT", QuoteString(target), QuoteString(new))
