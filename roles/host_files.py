"""Thin helpers around pyinfra's file operations, for text that was rendered on the controller."""

from __future__ import annotations

from io import BytesIO, StringIO

from pyinfra.operations import files

from roles.layout import LIBEXEC
from roles.pins import ROOT
from roles.release_files import release_file
from roles.started_with import checksums_path, checksums_text, inputs_path, inputs_text


def write(name: str, path: str, text: str, mode: str = "644") -> None:
    """Have `path` hold exactly `text`, owned by root. `name` is the line in the plan."""
    files.put(name=name, src=StringIO(text), dest=path, user="root", group="root", mode=mode)


def directory(name: str, path: str, user: str = "root", group: str = "root", mode: str = "755") -> None:
    files.directory(name=name, path=path, user=user, group=group, mode=mode)


def install_program(name: str, source: str) -> None:
    """Have a program of this project in LIBEXEC; `source` is its path in the repository."""
    text = (ROOT / source).read_text(encoding="utf-8")
    write(name, f"{LIBEXEC}/{source.rsplit('/', 1)[1]}", text, mode="755")


def write_inputs(inputs: dict[str, dict[str, str]], files: dict[str, dict[str, str]]) -> None:
    """Put down what a start of each unit reads; the running services are compared with it.

    :param inputs: by unit, hashes by the name of an input.
    :param files: by unit, the text of each file among them, by path: a start notices one that was changed by hand.
    """
    for unit, hashes in inputs.items():
        release_file(f"Record the files of {unit}", checksums_path(unit), checksums_text(files[unit]))
        release_file(f"Record the inputs of {unit}", inputs_path(unit), inputs_text(hashes))


def put_bytes(name: str, path: str, content: bytes) -> None:
    """Have `path` hold exactly `content`."""
    files.put(name=name, src=BytesIO(content), dest=path, user="root", group="root", mode="644")
