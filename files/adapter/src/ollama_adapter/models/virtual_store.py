"""Where virtual models are kept: a JSON file for each in a directory that all processes of the port share.

A file is replaced in one step, so a process that is killed while it writes leaves the old one. What another process
changed is seen by the time of the directory. Without a directory the models live as long as the process.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..go.decode import Reading
from ..go.json import BadBody
from ..ollama.names import InvalidName, ModelName, parse
from .presets import Preset, to_plain

MAX_MODELS = 1000
MAX_FILE_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)
_VERSION = 1
_SUFFIX = ".json"
_UNFINISHED = ".unfinished-"
_UNFINISHED_FOR_S = 600.0
# A change within one tick of the file system's clock does not move the time of the directory; for so long after a
# change it is read again whenever it is asked for.
_UNSETTLED_S = 2.0

# Options of the reader of messages do not matter here: what is in a file has been read by it before.
_read_messages = Reading(string_arguments=True, data_uri_images=True, content_parts=True).chat["messages"]


class StoreError(Exception):
    """A model cannot be kept or forgotten; the text says where and why."""


class _BadFile(StoreError):
    """A file that is no virtual model."""


@dataclass(frozen=True)
class Record:
    """A virtual model as it is kept.

    :ivar base: the name of the served model that answers.
    :ivar parent: the name that it was made from, as `/api/show` prints it.
    """

    name: ModelName
    base: str
    parent: str
    created: float  # seconds since 1970
    preset: Preset


class _File(msgspec.Struct):
    version: int
    name: str
    base: str
    parent: str
    created: float
    preset: _PresetInFile


class _PresetInFile(msgspec.Struct):
    system: str = ""
    template: str = ""
    parameters: dict[str, Any] = {}
    messages: list[Any] = []
    licenses: list[str] = []


class VirtualStore:
    """The virtual models on disk, and a copy of them in memory."""

    def __init__(self, directory: Path | None) -> None:
        """:param directory: None keeps them in memory alone. It is made when it is needed."""
        self._directory = directory
        self._records: dict[str, Record] = {}
        self._files: dict[str, tuple[tuple[int, int, int], Record | None]] = {}  # by name; None: cannot be used
        self._seen_ns = -1  # time of the directory when it was read last, -1 while that may be repeated
        self._trouble = ""
        if directory is not None:
            self._remove_unfinished(directory)

    @property
    def records(self) -> dict[str, Record]:
        """The models by the key of their names, as last read."""
        return self._records

    @property
    def is_on_disk(self) -> bool:
        """Whether `write` and `remove` take their time."""
        return self._directory is not None

    def refresh(self) -> bool:
        """Read what has changed on disk. Cheap where nothing has.

        :return: whether something may have changed.
        """
        if self._directory is None:
            return False
        try:
            time_ns = os.stat(self._directory).st_mtime_ns
            if time_ns == self._seen_ns:
                return False
            self._read(self._directory)
        except FileNotFoundError:
            self._files.clear()
        except OSError as error:
            self._tell(f"virtual models cannot be read: {error} (server.state_directory)")
            return False
        else:
            self._tell("")
            self._seen_ns = time_ns if abs(time.time() - time_ns / 1e9) > _UNSETTLED_S else -1
        records = {record.name.key: record for _, record in self._files.values() if record is not None}
        is_changed = records != self._records
        self._records = records
        return is_changed

    def write(self, record: Record) -> None:
        """Keep a model, in place of one of the same name.

        :raises StoreError: it is too large, there are too many, or the disk takes nothing. Everything is as before.
        """
        if record.name.key not in self._records and len(self._records) >= MAX_MODELS:
            raise StoreError(f"there are {MAX_MODELS} virtual models already: delete some")
        data = _encoded(record)
        _decoded(data, _file_name(record.name))  # nothing is written that could not be read
        if len(data) > MAX_FILE_BYTES:
            raise StoreError(f"the model has {len(data)} bytes of texts and parameters; {MAX_FILE_BYTES} are possible")
        if self._directory is None:
            self._records = {**self._records, record.name.key: record}
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._directory / _file_name(record.name), data)
        except OSError as error:
            raise StoreError(f"cannot keep the model: {error} (server.state_directory)") from None

    def remove(self, name: ModelName) -> None:
        """Forget a model; nothing happens where there is none.

        :raises StoreError: the disk does not let it go.
        """
        if self._directory is None:
            self._records = {key: record for key, record in self._records.items() if key != name.key}
            return
        try:
            (self._directory / _file_name(name)).unlink(missing_ok=True)
            _sync(self._directory)
        except OSError as error:
            raise StoreError(f"cannot delete the model: {error} (server.state_directory)") from None

    def _read(self, directory: Path) -> None:
        found: dict[str, tuple[tuple[int, int, int], Record | None]] = {}
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.endswith(_SUFFIX) or entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:  # deleted since
                    continue
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                known = self._files.get(entry.name)
                found[entry.name] = known if known and known[0] == stamp else (stamp, _load(directory / entry.name))
        self._files = found

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:  # once, not for each request
            _log.error("%s", trouble)
        self._trouble = trouble

    def _remove_unfinished(self, directory: Path) -> None:
        """Take away what processes that were killed have left, but nothing that one is writing now."""
        try:
            for path in directory.glob(f"{_UNFINISHED}*"):
                if time.time() - path.stat().st_mtime > _UNFINISHED_FOR_S:
                    path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("unfinished files stay: %s", error)


def _file_name(name: ModelName) -> str:
    # Readable, and without the characters of a name that a file must not have; the digest makes it unique.
    return f"{name.model.lower()}-{hashlib.sha256(name.key.encode()).hexdigest()[:16]}{_SUFFIX}"


def _encoded(record: Record) -> bytes:
    plain = {
        "version": _VERSION,
        "name": record.name.display,
        "base": record.base,
        "parent": record.parent,
        "created": record.created,
        "preset": to_plain(record.preset),
    }
    try:
        return msgspec.json.format(msgspec.json.encode(plain), indent=2)
    except RecursionError:
        raise StoreError("the model's messages are nested too deeply") from None


def _decoded(data: bytes, file_name: str) -> Record:
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("version")
        if version is not None and bytes(version) != b"%d" % _VERSION:
            raise StoreError(f"version {bytes(version).decode()} of the format is not known here")
        found = msgspec.json.decode(data, type=_File)
        name = parse(found.name)
        parse(found.base)
        messages = _read_messages(found.preset.messages, "messages")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidName, BadBody) as error:
        raise _BadFile(str(error)) from None
    if _file_name(name) != file_name:
        raise _BadFile(f"the model in it, {found.name}, belongs into {_file_name(name)}")
    preset = found.preset
    return Record(
        name,
        found.base,
        found.parent,
        found.created,
        Preset(preset.system, preset.template, preset.parameters, messages, preset.licenses),
    )


def _load(path: Path) -> Record | None:
    """Read a file. One that is broken is put aside, so that a look into the directory shows it; one that is only not
    understood, of a later version for instance, stays."""
    try:
        return _decoded(path.read_bytes(), path.name)
    except FileNotFoundError:  # deleted since
        return None
    except _BadFile as error:
        aside = path.with_name(f"{path.name}.broken")
        try:
            os.replace(path, aside)
        except OSError as failure:
            _log.error("virtual model in %s is broken and left out: %s (it stays there: %s)", path, error, failure)
        else:
            _log.error("virtual model in %s is broken, put aside as %s: %s", path, aside, error)
    except (OSError, StoreError) as error:
        _log.error("virtual model in %s left out: %s", path, error)
    return None


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make a change of the directory last, should the power fail now."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
