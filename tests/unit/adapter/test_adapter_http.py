from __future__ import annotations

import pytest

from ollama_adapter.http.answer import refusal
from ollama_adapter.http.body import ChunkedBody, LengthBody
from ollama_adapter.http.head import Refusal, end_of_head, parse_head

HEAD = b"POST /api/chat?x=1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nX-A:  b \r\n\r\n"
CHUNKED = b"4\r\nWiki\r\n6;name=value\r\npedia \r\nC\r\nin \r\n\r\nchunk\r\n0\r\nTrailer: x\r\n\r\n"


def head(*lines: str, request: str = "GET / HTTP/1.1", host: str = "Host: x") -> bytes:
    return "".join(f"{line}\r\n" for line in (request, *([host] if host else []), *lines, "")).encode("latin-1")


def test_a_head_is_read() -> None:
    found = parse_head(HEAD)
    assert (found.method, found.path, found.target) == ("POST", "/api/chat", b"/api/chat?x=1")
    assert found.headers == [(b"host", b"a:1"), (b"content-length", b"5"), (b"x-a", b"b")]
    assert (found.content_length, found.is_chunked, found.keep_alive, found.has_body) == (5, False, True, True)


@pytest.mark.parametrize("raw", [HEAD, HEAD.replace(b"\r\n", b"\n")], ids=["CR LF", "LF"])
def test_the_end_of_a_head_is_found_wherever_the_network_cut_it(raw: bytes) -> None:
    for cut in range(len(raw)):
        assert end_of_head(raw[:cut]) == -1
        assert end_of_head(raw + b"body", cut) == len(raw)


def test_a_head_with_bare_line_feeds_is_read_as_go_does() -> None:
    assert parse_head(b"GET /api/version HTTP/1.1\nHost: 127.0.0.1\n\n").path == "/api/version"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/%74ags", "/api/tags"),
        ("http://h:1/api/tags?x", "/api/tags"),
        ("/a#b", "/a"),
        ("*", "*"),
        ("http://h", "/"),
    ],
)
def test_a_path_is_found_in_every_form_of_a_target(target: str, path: str) -> None:
    assert parse_head(head(request=f"GET {target} HTTP/1.1")).path == path


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (head("Content-Length: 3", "Transfer-Encoding: chunked"), "400 Bad Request"),
        (head("Transfer-Encoding: chunked", "Content-Length: 3"), "400 Bad Request"),
        (head("Content-Length: 3", "Content-Length: 4"), "400 Bad Request"),
        (head("Content-Length: 3", "Content-Length: 3"), "400 Bad Request"),
        (head("Content-Length: 3, 3"), "400 Bad Request"),
        (head("Content-Length: abc"), "400 Bad Request"),
        (head("Content-Length: +3"), "400 Bad Request"),
        (head("Content-Length: -3"), "400 Bad Request"),
        (head("Content-Length: 0x3"), "400 Bad Request"),
        (head("Content-Length: \xb2"), "400 Bad Request"),
        (head("Content-Length:"), "400 Bad Request"),
        (head("Content-Length: " + "9" * 30), "400 Bad Request"),
        (head("Content-Length : 3"), "400 Bad Request: invalid header name"),
        (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "400 Bad Request"),
        (head("Transfer-Encoding: xchunked"), "501 Not Implemented: unsupported transfer encoding"),
        (head("Transfer-Encoding: gzip, chunked"), "501 Not Implemented: unsupported transfer encoding"),
        (head("Transfer-Encoding: \x0bchunked"), "400 Bad Request: invalid header value"),
        (head("Transfer-Encoding: chunked", request="POST / HTTP/1.0"), "400 Bad Request"),
        (head("X-A: 1", " folded: 2"), "400 Bad Request: invalid header name"),
        (head("X-A: a\x00b"), "400 Bad Request: invalid header value"),
        (head("X-A: a\rb"), "400 Bad Request: invalid header value"),
        (head("Bad Header: x"), "400 Bad Request: invalid header name"),
        (head("no colon"), "400 Bad Request"),
        (head(": x"), "400 Bad Request: invalid header name"),
        (head(host=""), "400 Bad Request: missing required Host header"),
        (head("Host: other"), "400 Bad Request"),
        (head(host="Host: a b"), "400 Bad Request: malformed Host header"),
        (head(request="GET / HTTP/3.7"), "505 HTTP Version Not Supported: unsupported protocol version"),
        (head(request="PRI * HTTP/2.0"), "505 HTTP Version Not Supported: unsupported protocol version"),
        (head(request="GET / http/1.1"), "400 Bad Request: malformed HTTP version"),
        (head(request="GET  / HTTP/1.1"), "400 Bad Request"),
        (head(request="GET /a b HTTP/1.1"), "400 Bad Request"),
        (head(request="GET /%zz HTTP/1.1"), "400 Bad Request"),
        (head(request="GET api HTTP/1.1"), "400 Bad Request"),
        (head(request="CONNECT a:1 HTTP/1.1"), "400 Bad Request"),
        (head(request="G@T / HTTP/1.1"), "400 Bad Request"),
        (b"\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"),
        (head(*(f"X-{number}: 1" for number in range(200))), "431 Request Header Fields Too Large"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_or_none_is_refused(raw: bytes, status: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_head(raw)
    assert caught.value.status == status


def test_a_refusal_looks_like_gos() -> None:
    assert refusal(Refusal("400 Bad Request")) == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        b"400 Bad Request"
    )


@pytest.mark.parametrize(
    ("lines", "request_", "keeps"),
    [
        ((), "GET / HTTP/1.1", True),
        (("Connection: Close",), "GET / HTTP/1.1", False),
        (("Connection: x, close",), "GET / HTTP/1.1", False),
        ((), "GET / HTTP/1.0", False),
    ],
)
def test_a_connection_is_kept_unless_the_request_says_otherwise(
    lines: tuple[str, ...], request_: str, keeps: bool
) -> None:
    assert parse_head(head(*lines, request=request_)).keep_alive is keeps


def test_an_offer_to_upgrade_is_ignored_and_the_body_still_counts() -> None:
    found = parse_head(head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Content-Length: 3"))
    assert (found.content_length, found.keep_alive) == (3, True)


@pytest.mark.parametrize("cut", range(len(CHUNKED) + 1))
def test_a_chunked_body_does_not_depend_on_where_it_was_cut(cut: int) -> None:
    body = ChunkedBody()
    first, rest = body.feed(CHUNKED[:cut])
    assert body.is_complete is (cut == len(CHUNKED))
    second, rest = body.feed(CHUNKED[cut:] + b"next") if cut < len(CHUNKED) else (b"", b"next")
    assert (first + second, rest, body.is_complete) == (b"Wikipedia in \r\n\r\nchunk", b"next", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n", b"-3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"\r\nabc",
        b"3 3\r\nabc\r\n", b"g\r\n",
        b"1" * 20 + b"\r\n", b"3;\x00\r\nabc\r\n", b"9" * 5000, b"3\r\nabc\n0\r\n\r\n", b"0\r\n" + b"a: b\r\n" * 5000,
    ],
)  # fmt: skip
def test_broken_chunks_are_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        ChunkedBody().feed(raw)


def test_a_body_of_known_length_leaves_the_next_request_alone() -> None:
    body = LengthBody(5)
    assert body.feed(b"abc") == (b"abc", b"")
    assert not body.is_complete
    assert body.feed(b"deGET /") == (b"de", b"GET /")
    assert body.is_complete
