"""Which wheels a bundle gets: those of the locks, for the hosts' interpreters, with hashes that the locks know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import interpreters
from bundle.errors import BundleError
from bundle.fetching import Web
from bundle.needs import Lock
from bundle.python_index import Link, applies, choose, default_index, own_python, parse_lock, parse_page, plan, tags_for
from roles.layout import adapter_lock
from roles.pins import LOCKS
from tests.unit.bundle.scripted_server import Say, Seen, serving

A, B, C = "a" * 64, "b" * 64, "c" * 64
LOCK = f"""# comment
Some.Thing==1.2 ; python_full_version < '3.12' \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
torch==2.13.0+cpu \\
    --hash=sha256:{C}
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(lambda text: None, pause_s=0) as session:
        yield session


def test_a_lock_is_read_with_markers_and_hashes() -> None:
    thing, torch = parse_lock(LOCK)
    assert (thing.name, str(thing.version), set(thing.sha256s)) == ("some-thing", "1.2", {A, B})
    assert str(torch.version) == "2.13.0+cpu"
    assert applies(thing, "3.11")
    assert not applies(thing, "3.12")


@pytest.mark.parametrize("name", ["uv.lock", "vllm-cpu.lock", "vllm-cuda.lock"])
def test_every_pin_of_our_locks_has_a_hash(name: str) -> None:
    pins = parse_lock((LOCKS / name).read_text())
    assert pins
    assert all(pin.sha256s for pin in pins)


def test_the_adapters_lock_knows_older_interpreters() -> None:
    names = {
        python: {pin.name for pin in parse_lock(adapter_lock()) if applies(pin, python)} for python in ("3.10", "3.11")
    }
    assert names["3.10"] - names["3.11"] == {"tomli"}


@pytest.mark.parametrize("text", ["thing", "thing>=1", "thing>=1,<2", "-not-an-option==1 x"])
def test_a_line_that_pins_nothing_is_an_error(text: str) -> None:
    if text.startswith("-"):
        assert parse_lock(text) == []
        return
    with pytest.raises(ValueError, match="no pin"):
        parse_lock(text)


def test_pages_are_read_as_html_and_as_json() -> None:
    page = f"""<html><a href="../../files/thing-1.2-py3-none-any.whl#sha256={A}">x</a>
    <A data-x='1' HREF='https://cdn.example/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl'>y</A></html>"""
    there = "https://index.example/simple/thing/"
    assert parse_page("text/html", page, there) == [
        Link("thing-1.2-py3-none-any.whl", "https://index.example/files/thing-1.2-py3-none-any.whl", A),
        Link(
            "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
            "https://cdn.example/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl", "",
        ),
    ]  # fmt: skip
    told = json.dumps({"files": [{"filename": "t-1-py3-none-any.whl", "url": "t.whl", "hashes": {"sha256": B}}]})
    assert parse_page("application/vnd.pypi.simple.v1+json", told, there) == [
        Link("t-1-py3-none-any.whl", f"{there}t.whl", B)
    ]


def test_the_best_wheel_that_the_lock_knows_is_taken() -> None:
    (pin, _), tags = parse_lock(LOCK), tags_for("3.11")
    plain = Link("some_thing-1.2-py3-none-any.whl", "u1", A)
    fast = Link("some_thing-1.2-cp311-cp311-manylinux_2_17_x86_64.whl", "u2", B)
    others = [
        Link("some_thing-1.2-cp312-cp312-manylinux_2_17_x86_64.whl", "u3", A),
        Link("some_thing-1.2-cp311-cp311-win_amd64.whl", "u4", A),
        Link("some_thing-1.2-cp311-cp311-manylinux_2_17_x86_64.whl", "u5", C),
        Link("some_thing-1.3-py3-none-any.whl", "u6", A),
        Link("some_thing-1.2.tar.gz", "u7", A),
        Link("nonsense.whl", "u8", A),
    ]
    assert choose(pin, [*others, plain, fast], tags) == fast
    assert choose(pin, [*others, plain], tags) == plain
    assert choose(pin, others, tags) is None


def test_a_build_of_one_publisher_is_looked_for_at_the_second_index(web: Web) -> None:
    def answer(request: Seen) -> Say:
        if request.path == "/second/torch/":
            name = "torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl"
            return Say(body=f'<a href="{name}#sha256={C}">t</a>'.encode(), headers={"Content-Type": "text/html"})
        return Say(404)

    lock = Lock("vLLM", LOCK.partition("torch")[1] + LOCK.partition("torch")[2], "3.11")
    with serving(answer) as server:
        (found,) = plan([lock], "3.11", f"{server.url}/first", f"{server.url}/second/", web)
    assert found.path == "python/wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert found.sha256s == (C,)


def test_a_pin_without_a_wheel_is_named_with_what_there_is(web: Web) -> None:
    def answer(request: Seen) -> Say:
        body = f'<a href="some_thing-1.2.tar.gz#sha256={A}">s</a>' if "some-thing" in request.path else ""
        return Say(body=body.encode(), headers={"Content-Type": "text/html"})

    with serving(answer) as server, pytest.raises(BundleError) as problem:
        list(plan([Lock("adapter", LOCK, "")], "3.11", server.url, server.url, web))
    assert str(problem.value).startswith("some-thing==1.2: no wheel for Python 3.11")
    assert "it has some_thing-1.2.tar.gz" in str(problem.value)
    assert "--mirror python_index=URL" in str(problem.value)


@pytest.mark.parametrize(("status", "words"), [(401, "answered 401"), (403, "answered 403")])
def test_an_index_that_refuses_is_not_taken_for_an_empty_one(web: Web, status: int, words: str) -> None:
    with serving(lambda request: Say(status)) as server, pytest.raises(BundleError, match=words):
        list(plan([Lock("adapter", LOCK, "")], "3.11", server.url, server.url, web))


def test_a_page_that_is_no_index_is_named(web: Web) -> None:
    portal = Say(body=b"<html>log in", headers={"Content-Type": "application/json"})
    with serving(lambda request: portal) as server, pytest.raises(BundleError, match="something that is no index"):
        list(plan([Lock("adapter", LOCK, "")], "3.11", server.url, server.url, web))


def test_a_login_in_the_index_survives_pips_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://bob:secret@index.example/simple")
    assert default_index() == "http://bob:secret@index.example/simple"


def test_pip_tells_which_index_this_machine_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.example/simple")
    assert default_index() == "http://index.example/simple"


def test_the_systems_own_interpreter_is_asked_for_its_version() -> None:
    assert own_python().startswith("3.")


def test_an_interpreter_is_only_fetched_where_the_system_has_another() -> None:
    assert interpreters.wanted(["", "3.12", "3.12"], "3.11") == ["3.12"]
    assert interpreters.wanted(["", "3.12"], "3.12") == []


BUILDS = [  # uv 0.13.9, `uv python list 3.12 --only-downloads --output-format json`, shortened
    {"implementation": "pypy", "variant": "default", "url": "https://pypy.example/pypy3.12.tar.gz"},
    {"implementation": "cpython", "variant": "freethreaded", "url": "https://x.example/20261110/free.tar.gz"},
    {
        "implementation": "cpython", "variant": "default",
        "url": "https://x.example/20261110/cpython-3.12.16%2B20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz",
    },
]  # fmt: skip


def test_of_uvs_builds_the_one_it_would_take_itself() -> None:
    assert interpreters.build_url(BUILDS, "3.12") == BUILDS[2]["url"]
    with pytest.raises(BundleError, match=r"Python 3\.12: uv knows no build"):
        interpreters.build_url(BUILDS[:2], "3.12")


def test_an_interpreter_lies_where_uv_looks_for_it_with_its_published_digest(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "cpython-3.12.16+20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
    monkeypatch.setattr(interpreters, "unpack", lambda wheel, scratch: tmp_path / "uv")

    def answer(request: Seen) -> Say:
        return Say(body=f"{A}  {name}\n".encode()) if request.path == "/b/20261110/SHA256SUMS" else Say(404)

    with serving(answer) as server:
        url = f"{server.url}/b/20261110/{name.replace('+', '%2B')}"
        monkeypatch.setattr(interpreters, "list_builds", lambda uv, version, mirror: [{**BUILDS[2], "url": url}])
        (found,) = interpreters.plan(["3.12"], tmp_path / "uv.whl", tmp_path, f"{server.url}/b", web)
    assert (found.path, found.url, found.sha256s) == (f"python/builds/20261110/{name}", url, (A,))
