"""A wheelhouse from lock files, filled by the real pip out of a folder."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.mirror import wheelhouse
from lab.mirror.cache import CacheError
from lab.mirror.locks import LockError, Pin, read
from lab.mirror.python_index import HASHES
from lab.mirror.sites import Content

from .conftest import Served, wheel


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that this machine's pip settings name; there is no index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("LLM_LAB_TORCH_INDEX", (tmp_path / "torch-index").as_uri())
    return folder


def lock(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_lock_is_read_with_hashes_comments_and_markers(tmp_path: Path) -> None:
    path = lock(
        tmp_path,
        "# made by uv",
        "--index-url https://example.org",
        "Lab.One==1.0 \\",
        f"    --hash=sha256:{'a' * 64} \\",
        f"    --hash=sha256:{'b' * 64}  # via two",
        "two[extra]==2.0+cpu ; python_version >= '3.11'",
    )
    one, two = read(path)
    assert (one.name, one.version, one.hashes) == ("lab-one", "1.0", frozenset({"a" * 64, "b" * 64}))
    assert (two.name, two.version, two.is_local_build) == ("two", "2.0+cpu", True)


def test_a_line_that_pins_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"some\.lock: entry 1 is no pin: 'one>=1'"):
        read(lock(tmp_path, "one>=1"))


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", True),
        ("torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl", True),
        ("torch-2.13.0-cp311-cp311-linux_x86_64.whl", False),
        ("torchvision-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", False),
    ],
)
def test_a_pin_knows_its_wheel_by_the_file_name(file: str, fits: bool) -> None:
    assert Pin("torch", "2.13.0+cpu", frozenset(), "").fits(file) is fits


def test_the_wheels_of_all_locks_are_there_with_their_hashes(tmp_path: Path, published: Path) -> None:
    source = wheel(published, "lab-one", "1.0")
    wheel(published, "lab-one", "2.0")
    wheel(published, "lab-two", "1.0")
    other = tmp_path / "other.lock"
    other.write_text("lab-two==1.0\n")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    folder = wheelhouse.ensure([lock(tmp_path, f"lab-one==1.0 --hash=sha256:{digest}"), other], tmp_path / "cache")
    assert sorted(path.name for path in folder.glob("*.whl")) == [
        "lab_one-1.0-py3-none-any.whl",
        "lab_two-1.0-py3-none-any.whl",
    ]
    assert f'"lab_one-1.0-py3-none-any.whl": "{digest}"' in (folder / HASHES).read_text()


def test_an_unchanged_lock_asks_pip_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "cache" / "wheel-pool", "lab-one", "1.0")
    path = lock(tmp_path, "lab-one==1.0")
    monkeypatch.setattr(wheelhouse, "_download", lambda *_: pytest.fail("pip was called"))
    first = wheelhouse.ensure([path], tmp_path / "cache")
    monkeypatch.setattr(wheelhouse, "_fill", lambda *_: pytest.fail("the wheelhouse was made again"))
    assert wheelhouse.ensure([path], tmp_path / "cache") == first


def test_a_changed_lock_fetches_only_what_is_new(tmp_path: Path, published: Path) -> None:
    one = wheel(tmp_path / "cache" / "wheel-pool", "lab-one", "1.0")
    before = wheelhouse.ensure([lock(tmp_path, "lab-one==1.0")], tmp_path / "cache")
    wheel(published, "lab-two", "1.0")  # the first is not published any more
    after = wheelhouse.ensure([lock(tmp_path, "lab-one==1.0", "lab-two==1.0")], tmp_path / "cache")
    assert after != before
    assert (after / one.name).samefile(before / one.name)
    assert (after / "lab_two-1.0-py3-none-any.whl").is_file()


def test_a_failed_run_keeps_what_it_fetched(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheelhouse, "BATCH", 1)
    one = wheel(published, "lab-one", "1.0")
    path = lock(tmp_path, "lab-one==1.0", "lab-two==1.0")
    with pytest.raises(CacheError, match=r"lab-two==1\.0: pip cannot download a wheel"):
        wheelhouse.ensure([path], tmp_path / "cache")
    one.unlink()
    wheel(published, "lab-two", "1.0")
    assert len(list(wheelhouse.ensure([path], tmp_path / "cache").glob("*.whl"))) == 2


def test_a_wheel_with_another_hash_than_the_lock_says_is_refused(tmp_path: Path, published: Path) -> None:
    wheel(published, "lab-one", "1.0")
    with pytest.raises(CacheError, match=r"lab-one==1\.0: pip cannot download a wheel: ERROR"):
        wheelhouse.ensure([lock(tmp_path, f"lab-one==1.0 --hash=sha256:{'0' * 64}")], tmp_path / "cache")


def test_a_spoilt_wheel_in_the_pool_is_fetched_again(tmp_path: Path, published: Path) -> None:
    source = wheel(published, "lab-one", "1.0")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    pool = tmp_path / "cache" / "wheel-pool"
    pool.mkdir(parents=True)
    (pool / source.name).write_bytes(b"spoilt")
    folder = wheelhouse.ensure([lock(tmp_path, f"lab-one==1.0 --hash=sha256:{digest}")], tmp_path / "cache")
    assert (folder / source.name).read_bytes() == source.read_bytes()


def test_a_project_with_sources_only_is_named_as_such(tmp_path: Path, published: Path) -> None:
    (published / "lab-one-1.0.tar.gz").write_bytes(b"sources")
    with pytest.raises(CacheError, match=r"lab-one==1\.0 is published as source only"):
        wheelhouse.ensure([lock(tmp_path, "lab-one==1.0")], tmp_path / "cache")


def test_a_local_build_comes_from_the_machines_own_settings_first(tmp_path: Path, published: Path) -> None:
    wheel(published, "torch", "2.13.0+cpu")
    folder = wheelhouse.ensure([lock(tmp_path, "torch==2.13.0+cpu")], tmp_path / "cache")
    assert [path.name for path in folder.glob("*.whl")] == ["torch-2.13.0+cpu-py3-none-any.whl"]


def test_a_local_build_comes_from_its_publishers_index_next(
    tmp_path: Path, published: Path, serve: Callable[[Content], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "elsewhere", "torch", "2.13.0+cpu")
    publisher = serve(Content(wheels=(tmp_path / "elsewhere",)))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{serve(Content()).url('files')}/simple/")
    monkeypatch.setenv("LLM_LAB_TORCH_INDEX", f"{publisher.url('files')}/simple/")
    folder = wheelhouse.ensure([lock(tmp_path, "torch==2.13.0+cpu")], tmp_path / "cache")
    assert [path.name for path in folder.glob("*.whl")] == ["torch-2.13.0+cpu-py3-none-any.whl"]


def test_a_local_build_that_is_nowhere_names_both_places(tmp_path: Path, published: Path) -> None:
    with pytest.raises(CacheError) as failure:
        wheelhouse.ensure([lock(tmp_path, "torch==2.13.0+cpu")], tmp_path / "cache")
    message = str(failure.value)
    assert "torch==2.13.0+cpu is in neither place" in message
    assert "pip config list" in message
    assert "torch-index (LLM_LAB_TORCH_INDEX)" in message
    assert "PIP_FIND_LINKS" in message


def test_the_tags_asked_for_are_those_of_a_debian_12_host() -> None:
    tags = wheelhouse.platforms()
    assert tags[0].startswith("manylinux_2_36_")
    assert {tag.split("_", 3)[-1] for tag in tags if tag.startswith("manylinux_")} == {os.uname().machine}
    assert sys.version_info >= (3, 11)
