"""A download goes on where it stopped, and only the right file counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import TRIES, Web
from tests.unit.bundle.scripted_server import Say, Seen, serving

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_ID = hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(lambda text: None, pause_s=0) as session:
        yield session


def right(url: str, **more: object) -> Artefact:
    return Artefact("a/b.bin", f"{url}/b.bin", sha256s=(SHA256,), size=len(CONTENT), **more)  # type: ignore[arg-type]


def with_ranges(request: Seen) -> Say:
    """A server that can continue."""
    asked = request.headers.get("range", "")
    if not asked:
        return Say(body=CONTENT)
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    last = len(CONTENT) - 1
    return Say(206, CONTENT[start:], {"Content-Range": f"bytes {start}-{last}/{len(CONTENT)}"})


def test_what_came_before_is_not_fetched_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "b.bin.part").write_bytes(CONTENT[:1000])
    with serving(with_ranges) as server:
        web.download(right(server.url), tmp_path / "b.bin")
        assert [request.headers.get("range") for request in server.seen] == ["bytes=1000-"]
    assert (tmp_path / "b.bin").read_bytes() == CONTENT
    assert not (tmp_path / "b.bin.part").exists()


def test_a_server_that_cannot_continue_sends_all_of_it(web: Web, tmp_path: Path) -> None:
    (tmp_path / "b.bin.part").write_bytes(CONTENT[:1000])
    with serving(lambda request: Say(body=CONTENT)) as server:
        web.download(right(server.url), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_at_its_last_byte(web: Web, tmp_path: Path) -> None:
    def breaks_once(request: Seen) -> Say:
        if "range" not in request.headers:
            return Say(body=CONTENT[:5000], promised=len(CONTENT))
        return with_ranges(request)

    with serving(breaks_once) as server:
        web.download(right(server.url), tmp_path / "b.bin")
        assert [request.headers.get("range") for request in server.seen] == [None, "bytes=5000-"]
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_a_line_that_breaks_again_and_again_gets_there_as_long_as_something_comes(web: Web, tmp_path: Path) -> None:
    step = len(CONTENT) // 9

    def breaks(request: Seen) -> Say:
        said = with_ranges(request)
        return Say(said.status, said.body[:step], said.headers, promised=len(said.body))

    with serving(breaks) as server:
        web.download(right(server.url), tmp_path / "b.bin")
        assert len(server.seen) > 2 * TRIES
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_only_checked(web: Web, tmp_path: Path) -> None:
    (tmp_path / "b.bin.part").write_bytes(CONTENT)
    with serving(with_ranges) as server:
        web.download(right(server.url), tmp_path / "b.bin")
        assert server.seen == []


def test_a_whole_part_of_unknown_size_survives_the_servers_416(web: Web, tmp_path: Path) -> None:
    (tmp_path / "b.bin.part").write_bytes(CONTENT)
    with serving(lambda request: Say(416)) as server:
        web.download(Artefact("b.bin", f"{server.url}/b.bin", sha256s=(SHA256,)), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("announced", [{"sha256s": (SHA256,)}, {"git_id": GIT_ID}])
def test_another_file_than_announced_is_thrown_away(web: Web, tmp_path: Path, announced: dict[str, object]) -> None:
    other = b"!" + CONTENT[1:]
    with serving(lambda request: Say(body=other)) as server, pytest.raises(BundleError, match="it was thrown away"):
        web.download(Artefact("b.bin", f"{server.url}/b.bin", **announced), tmp_path / "b.bin")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_spoilt_part_is_noticed_and_the_next_run_begins_anew(web: Web, tmp_path: Path) -> None:
    (tmp_path / "b.bin.part").write_bytes(b"?" * 1000)
    with serving(with_ranges) as server:
        with pytest.raises(BundleError, match="has sha256"):
            web.download(right(server.url), tmp_path / "b.bin")
        web.download(right(server.url), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_a_server_in_trouble_is_asked_again_a_bounded_number_of_times(web: Web, tmp_path: Path) -> None:
    with serving(lambda request: Say(503)) as server:
        with pytest.raises(BundleError, match=rf"answered 503 \({TRIES} tries\)"):
            web.download(right(server.url), tmp_path / "b.bin")
        assert len(server.seen) == TRIES


def test_a_refusal_is_final_and_names_the_address(web: Web, tmp_path: Path) -> None:
    with serving(lambda request: Say(404)) as server:
        with pytest.raises(BundleError, match=r"/b\.bin: answered 404"):
            web.download(right(server.url), tmp_path / "b.bin")
        assert len(server.seen) == 1


def test_a_token_stays_with_the_server_it_was_given_for(web: Web, tmp_path: Path) -> None:
    with serving(with_ranges) as storage:

        def elsewhere(request: Seen) -> Say:
            return Say(302, headers={"Location": f"{storage.url}/stored"})

        with serving(elsewhere) as hub:
            web.download(right(hub.url, token="hf_planted"), tmp_path / "b.bin")
            assert hub.seen[0].headers["authorization"] == "Bearer hf_planted"
    assert "authorization" not in storage.seen[0].headers


def test_a_token_is_in_no_text_of_an_artefact() -> None:
    assert "hf_planted" not in repr(Artefact("a", "http://hub/a", token="hf_planted"))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../../b"])
def test_an_artefact_lies_inside_its_bundle(path: str) -> None:
    with pytest.raises(ValueError, match="no path inside a bundle"):
        Artefact(path)


def test_a_server_that_breaks_without_getting_further_is_given_up(web: Web, tmp_path: Path) -> None:
    lengths = iter([5000, 3000] * 50)

    def answer(request: Seen) -> Say:  # no ranges: all of it again, and never to the end
        return Say(body=CONTENT[: next(lengths)], promised=len(CONTENT))

    with serving(answer) as server, pytest.raises(BundleError, match="tries"):
        web.download(right(server.url), tmp_path / "b.bin")
    assert len(server.seen) == TRIES + 1


def test_an_address_that_is_none_is_not_tried_again(web: Web) -> None:
    with pytest.raises(BundleError, match="correct the setting that names it"):
        web.get("ftp://example/x")


def test_an_unreachable_server_is_named(web: Web) -> None:
    with serving(with_ranges) as server:
        gone = server.url
    with pytest.raises(BundleError, match=rf"{gone}.*tries"):
        web.get(gone)
