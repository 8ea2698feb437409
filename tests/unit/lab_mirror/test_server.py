"""HTTP as clients of large files need it: ranges, conditions, sizes, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.mirror.sites import Content

from .conftest import WEIGHTS, Served

ARCHIVE = "/ollama/releases/download/v1/archive.tar.zst"


def test_a_file_comes_whole_with_its_size_tag_and_date(served: Served) -> None:
    answer = served.ask("files", ARCHIVE)
    assert (answer.status, answer.body) == (200, WEIGHTS)
    assert answer.headers["Content-Length"] == str(len(WEIGHTS))
    assert {"ETag", "Last-Modified", "Accept-Ranges"} <= answer.headers.keys()


def test_head_tells_the_size_and_sends_no_body(served: Served) -> None:
    answer = served.ask("files", ARCHIVE, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(WEIGHTS))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=511990-", 511990, 511999),
        ("bytes=511990-999999", 511990, 511999),
        ("bytes=-5", 511995, 511999),
    ],
)
def test_one_range_is_cut_out_of_the_file(served: Served, asked: str, first: int, last: int) -> None:
    answer = served.ask("files", ARCHIVE, Range=asked)
    assert (answer.status, answer.body) == (206, WEIGHTS[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(WEIGHTS)}"


def test_a_range_past_the_end_is_refused_with_the_size(served: Served) -> None:
    answer = served.ask("files", ARCHIVE, Range=f"bytes={len(WEIGHTS)}-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(WEIGHTS)}")


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=-"])
def test_a_range_that_is_not_understood_gets_the_whole_file(served: Served, asked: str) -> None:
    answer = served.ask("files", ARCHIVE, Range=asked)
    assert (answer.status, len(answer.body)) == (200, len(WEIGHTS))


def test_a_range_of_another_version_of_the_file_gets_the_whole_file(served: Served) -> None:
    answer = served.ask("files", ARCHIVE, Range="bytes=10-", If_Range='"older"')
    assert (answer.status, len(answer.body)) == (200, len(WEIGHTS))
    current = served.ask("files", ARCHIVE, "HEAD").headers["ETag"]
    assert served.ask("files", ARCHIVE, Range="bytes=10-", If_Range=current).status == 206


def test_an_unchanged_file_is_not_sent_again(served: Served) -> None:
    first = served.ask("files", ARCHIVE, "HEAD").headers
    assert served.ask("files", ARCHIVE, If_None_Match=first["ETag"]).status == 304
    assert served.ask("files", ARCHIVE, If_Modified_Since=first["Last-Modified"]).status == 304
    assert served.ask("files", ARCHIVE, If_None_Match='"other"').status == 200
    assert served.ask("files", ARCHIVE, If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT").status == 200


@pytest.mark.parametrize("path", ["/nothing", "/ollama/releases/download/v9/x", "/apt/Release", "/simple/nothing/"])
def test_what_is_not_there_is_a_404_in_plain_text(served: Served, path: str) -> None:
    answer = served.ask("files", path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/apt/%2e%2e/%2e%2e/etc/passwd", "/ollama/releases/download/../x"]
)
def test_no_path_leaves_what_is_served(served: Served, path: str) -> None:
    assert served.ask("files", path).status == 400


def test_a_link_out_of_the_folder_is_not_followed(serve: Callable[[Content], Served], tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "link").symlink_to("/etc/passwd")
    assert serve(Content(releases=releases)).ask("files", "/ollama/releases/download/link").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(served: Served, method: str) -> None:
    assert served.ask("files", ARCHIVE, method).status == 405


def test_each_request_leaves_a_line_in_the_log(served: Served) -> None:
    served.ask("files", ARCHIVE, Range="bytes=0-9")
    served.servers[0].shutdown()  # the line is written after the answer
    assert f"files 127.0.0.1 GET {ARCHIVE} 206 10 bytes=0-9" in served.log.getvalue()


def test_only_the_given_address_is_listened_on(served: Served) -> None:
    assert [server.server_address[0] for server in served.servers] == ["127.0.0.1"] * 3
