"""Virtual models on disk: they survive what happens to processes and disks."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ollama_adapter
from ollama_adapter.models.catalogue import Catalogue
from ollama_adapter.models.presets import Preset
from ollama_adapter.models.virtual_models import VirtualModels, directory_of
from ollama_adapter.models.virtual_store import MAX_FILE_BYTES, Record, StoreError, VirtualStore
from ollama_adapter.ollama.names import parse
from ollama_adapter.service.peers import Place
from ollama_adapter.settings import Settings, VllmSettings

TIMEOUT_S = 60.0

# Writes models; what `os.fsync` does first is given, so that the process can be killed there.
WRITER = """
import os, sys
from pathlib import Path
from ollama_adapter.ollama.names import parse
from ollama_adapter.models.presets import Preset
from ollama_adapter.models.virtual_store import Record, VirtualStore

directory, system, waits = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "waits"
fsync = os.fsync
def slow(descriptor):
    print("in fsync", flush=True)
    sys.stdin.read()
    fsync(descriptor)
if waits:
    os.fsync = slow
store = VirtualStore(directory)
for name in sys.argv[4:]:
    store.write(Record(parse(name), "tiny:latest", "tiny:latest", 1.0, Preset(system=system)))
"""


def record(name: str = "child", system: str = "S", base: str = "tiny:latest") -> Record:
    return Record(parse(name), base, base, 1000.5, Preset(system=system))


def writer(directory: Path, system: str, *names: str, waits: bool = False) -> subprocess.Popen[str]:
    source = str(Path(ollama_adapter.__file__).parents[1])
    arguments = [str(directory), system, "waits" if waits else "runs", *names]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip


def names_in(directory: Path | None) -> dict[str, str]:
    store = VirtualStore(directory)
    store.refresh()
    return {found.name.display: found.preset.system for found in store.records.values()}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process can grow no larger: the disk is as good as full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = Preset(
        "S", "T", {"stop": ["a"], "top_k": 5}, [{"role": "user", "content": "ü", "images": [b"\x00\xff"]}], ["L"]
    )
    written = Record(parse("example.com/me/Foo:bar"), "tiny:latest", "other:latest", 1000.25, full)
    VirtualStore(tmp_path / "new" / "models").write(written)
    store = VirtualStore(tmp_path / "new" / "models")
    assert store.refresh()
    assert store.records == {written.name.key: written}


def test_names_that_differ_in_case_alone_are_one_model(tmp_path: Path) -> None:
    store = VirtualStore(tmp_path)
    store.write(record("Child", "old"))
    store.write(record("child", "new"))
    assert names_in(tmp_path) == {"child:latest": "new"}


def test_what_another_process_changes_is_seen(tmp_path: Path) -> None:
    store, other = VirtualStore(tmp_path), VirtualStore(tmp_path)
    for system in ("one", "two", "three"):  # within one tick of the file system's clock
        other.write(record(system=system))
        assert store.refresh()
        assert [found.preset.system for found in store.records.values()] == [system]
    other.remove(parse("child"))
    assert store.refresh()
    assert store.records == {}


def test_nothing_is_read_again_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    VirtualStore(tmp_path).write(record())
    os.utime(tmp_path, (1_000_000, 1_000_000))  # long ago
    store = VirtualStore(tmp_path)
    assert store.refresh()
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("the directory was read again"))
    assert not store.refresh()


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_model(tmp_path: Path) -> None:
    VirtualStore(tmp_path).write(record(system="old"))
    with writer(tmp_path, "new", "child", waits=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in fsync\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT_S)
    assert names_in(tmp_path) == {"child:latest": "old"}
    assert len(list(tmp_path.iterdir())) == 2, "the killed process left its unfinished file"
    for path in tmp_path.glob(".unfinished-*"):
        os.utime(path, (1_000_000, 1_000_000))
    VirtualStore(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unfinished_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-x").write_text("{")
    assert names_in(tmp_path) == {}
    assert (tmp_path / ".unfinished-x").exists()


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    first = writer(tmp_path, "first", *(f"first-{number}" for number in range(30)), "both")
    second = writer(tmp_path, "second", *(f"second-{number}" for number in range(30)), "both")
    for process in (first, second):
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
    found = names_in(tmp_path)
    assert len(found) == 61
    assert found["both:latest"] in ("first", "second")


def test_a_full_disk_is_an_error_and_leaves_the_old_model(tmp_path: Path) -> None:
    store = VirtualStore(tmp_path)
    store.write(record(system="old"))
    with (
        largest_file(100),
        pytest.raises(StoreError, match=r"cannot keep the model: .*File too large.*state_directory"),
    ):
        store.write(record(system="new" * 200))
    assert names_in(tmp_path) == {"child:latest": "old"}
    assert len(list(tmp_path.iterdir())) == 1
    store.write(record(system="new"))
    assert names_in(tmp_path) == {"child:latest": "new"}


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    store = VirtualStore(blocked / "virtual-models")
    assert not store.refresh()
    with pytest.raises(StoreError, match=r"virtual-models.*server\.state_directory"):
        store.write(record())
    with pytest.raises(StoreError, match=r"cannot delete the model.*server\.state_directory"):
        store.remove(parse("child"))


@pytest.mark.parametrize(
    "broken",
    ["", "{", "[]", '{"version":1}', '{"version":1,"name":"a b!","base":"x","parent":"","created":1,"preset":{}}'],
)
def test_a_broken_file_is_put_aside_and_named_and_the_rest_works(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    VirtualStore(tmp_path).write(record("good"))
    VirtualStore(tmp_path).write(record("bad"))
    (path,) = tmp_path.glob("bad-*.json")
    path.write_text(broken)
    assert names_in(tmp_path) == {"good:latest": "S"}
    assert str(path) in caplog.text
    assert not path.exists()
    assert path.with_name(f"{path.name}.broken").read_text() == broken
    caplog.clear()
    assert names_in(tmp_path) == {"good:latest": "S"}
    assert caplog.text == ""


def test_a_file_under_another_name_is_put_aside(tmp_path: Path) -> None:
    VirtualStore(tmp_path).write(record("good"))
    (path,) = tmp_path.glob("*.json")
    (tmp_path / "copy.json").write_bytes(path.read_bytes())
    assert names_in(tmp_path) == {"good:latest": "S"}
    assert (tmp_path / "copy.json.broken").exists()


def test_a_file_of_a_later_version_is_left_out_and_left_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    VirtualStore(tmp_path).write(record())
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2, "name": ["other"]}))
    assert names_in(tmp_path) == {}
    assert path.exists()
    assert "version 2 of the format is not known" in caplog.text


def test_texts_are_limited_and_so_is_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ollama_adapter.models.virtual_store.MAX_MODELS", 1)
    for store in (VirtualStore(None), VirtualStore(tmp_path)):
        with pytest.raises(StoreError, match=f"{MAX_FILE_BYTES} are possible"):
            store.write(record(system="x" * MAX_FILE_BYTES))
        store.write(record("one"))
        store.refresh()
        store.write(record("one", "again"))
        with pytest.raises(StoreError, match="there are 1 virtual models already"):
            store.write(record("two"))


def test_without_a_directory_models_live_in_memory() -> None:
    store = VirtualStore(None)
    store.write(record())
    assert list(store.records) == [record().name.key]
    store.remove(parse("child"))
    assert store.records == {}
    assert not store.is_on_disk


def test_processes_on_one_port_share_a_place_even_without_a_setting(tmp_path: Path) -> None:
    assert directory_of("", Place()) is None
    assert directory_of("", Place(1, 2, tmp_path)) == tmp_path / "virtual-models"
    assert directory_of("/var/lib/x", Place(1, 2, tmp_path)) == Path("/var/lib/x/virtual-models")


def shown(directory: Path, *aliases: str) -> list[str]:
    catalogue = Catalogue(Settings(vllm=VllmSettings(aliases=list(aliases))))
    VirtualModels(catalogue, VirtualStore(directory))
    return [model.name.display for model in catalogue.own_models]


def test_a_model_whose_base_is_gone_is_hidden_and_comes_back_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    VirtualStore(tmp_path).write(record())
    assert shown(tmp_path, "tiny") == ["tiny:latest", "child:latest"]
    with caplog.at_level(logging.WARNING):
        assert shown(tmp_path, "other") == ["other:latest"]
    assert "virtual model child:latest is hidden: its base tiny:latest is not served" in caplog.text
    assert shown(tmp_path, "tiny") == ["tiny:latest", "child:latest"]


def test_a_served_name_wins_over_a_virtual_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    VirtualStore(tmp_path).write(record())
    assert shown(tmp_path, "tiny", "child") == ["tiny:latest", "child:latest"]
    assert "hidden: the settings serve a model of this name" in caplog.text
