"""Promises of the HTTP front that hold for every input. h11 is the second opinion: an independent parser, strict too."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import h11
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ollama_adapter.http.body import ChunkedBody, LengthBody
from ollama_adapter.http.head import Refusal, end_of_head, parse_head
from tests.fuzz.examples import cuts, every, pieces


def read_chunked(parts: Sequence[bytes]) -> tuple[bytes, bytes, bool] | str:
    """Content, what follows the body, and whether the body is complete; or the refusal."""
    body, content, rest = ChunkedBody(), b"", b""
    try:
        for part in parts:
            if body.is_complete:
                rest += part
            else:
                more, rest = body.feed(part)
                content += more
    except Refusal as error:
        return error.status
    return content, rest, body.is_complete


def read_by_h11(data: bytes) -> tuple[h11.Request, bytes, bool] | None:
    """The first request as h11 reads it: head, body, and whether the body is complete; None where it refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += bytes(event.data)
        return request, body, isinstance(event, h11.EndOfMessage)
    except h11.RemoteProtocolError:
        return None


def read_by_adapter(data: bytes) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes, bool] | None:
    """The same by the adapter: method, target, headers, body, whether it is complete; None where it refuses."""
    end = end_of_head(data)
    if end < 0:
        return None
    try:
        head = parse_head(data[:end])
        body, is_complete = b"", True
        if head.has_body:
            reader = ChunkedBody() if head.is_chunked else LengthBody(head.content_length or 0)
            body, _ = reader.feed(data[end:])
            is_complete = reader.is_complete
    except Refusal:
        return None
    return head.method, head.target, head.headers, body, is_complete


# Requests that are nearly right: parts of heads, good and bad, put together by chance.
_methods = st.sampled_from([b"GET", b"POST", b"DELETE", b"OPTIONS", b"get", b"G T", b"", b"P\x00ST", b"(x)"])
_targets = st.sampled_from([b"/", b"/api/chat", b"/a?b=c", b"*", b"http://h/x", b"/\x7f", b"/%zz", b"/a b", b"x", b""])
_versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 ", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b""])
_ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x00\r\n"])
_names = st.sampled_from(
    [
        *[b"Content-Length", b"Transfer-Encoding", b"X-A"] * 4,
        b"Host",
        *[
            b"Content-Length ",
            b"Content_Length",
            b"Transfer-Encoding ",
            b"X-A",
            b" X",
            b"\tX",
            b"",
            b"X\x0b",
            b"H\xc3\xb6st",
        ],
    ]
)
_values = st.sampled_from(
    [
        *[b"3", b"chunked", b"h:1"] * 4,
        *[
            b"+3",
            b"-3",
            b"3_0",
            b"0x3",
            b"3, 3",
            b"3,4",
            b"03",
            b" 3 ",
            b"3;x",
            b"\xb3",
            b"9" * 25,
            b"",
            b"\x0b3",
            b"3\r4",
        ],
        *[b"Chunked", b"chunked, chunked", b"identity", b"gzip, chunked", b"chunked;q=1", b"x\x00y", b"caf\xc3\xa9"],
    ]
)
_chunk_sizes = st.sampled_from(
    [*[b"3", b"0"] * 4, b"3;x=y", b"3 ;x", b"03", b"+3", b"0x3", b"-1", b"3\n", b"", b" 3", b"f" * 17, b"3;\x00"]
)
_bodies = st.one_of(
    st.just(b"abcdef"),
    st.builds(lambda size, end: size + end + b"abc" + end + b"0" + end + end, _chunk_sizes, _ends),
    st.builds(lambda size, last: size + b"\r\nabc\r\n" + last + b"\r\nX: y\r\n\r\n", _chunk_sizes, _chunk_sizes),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    first = b"POST /api/chat HTTP/1.1"
    if draw(st.integers(0, 4)) == 4:
        first = b" ".join((draw(_methods), draw(_targets), draw(_versions)))
    lines = [first] if draw(st.integers(0, 9)) == 9 else [first, b"Host: h"]
    for _ in range(draw(st.integers(0, 2))):
        lines.append(draw(_names) + draw(st.sampled_from([b": "] * 6 + [b":", b" : ", b""])) + draw(_values))
    odd = draw(st.integers(0, 12))  # at most one line has an odd end
    head = b"".join(line + (draw(_ends) if number == odd else b"\r\n") for number, line in enumerate(lines))
    return head + draw(st.sampled_from([b"\r\n"] * 4 + [b"\n"])) + draw(_bodies)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


@every(1500)
@given(requests())
@example(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 4\r\n\r\n")
@example(b"POST / HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc")
def test_what_is_accepted_another_parser_reads_the_same(raw: bytes) -> None:
    ours = read_by_adapter(raw)
    if ours is None:
        return
    method, target, headers, body, is_complete = ours
    theirs = read_by_h11(raw)
    if theirs is None:
        assert reason_to_differ(raw), f"accepted, but h11 refuses it: {raw!r}"
        return
    request, their_body, theirs_is_complete = theirs
    assert (method.encode(), target) == (request.method, request.target)
    assert framing(headers) == framing([(bytes(name), bytes(value)) for name, value in request.headers])
    assert (body, is_complete) == (their_body, theirs_is_complete)


def framing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value.lower()) for name, value in headers if name in (b"content-length", b"transfer-encoding")]


def reason_to_differ(raw: bytes) -> str:
    """Why h11 refuses what the adapter takes, "" where there is no good reason. Neither moves the end of a request."""
    if any(byte >= 0x80 for byte in raw.partition(b"\r\n")[0]):
        return "raw bytes above 0x7f in a target: Go takes them"
    _, _, body = raw.partition(b"\r\n\r\n")
    if re.match(rb"[0-9A-Fa-f]+[ \t]+;", body):
        return "blanks before the semicolon of a chunk's extension: RFC 9112 7.1.1 allows them"
    return ""


@every(300)
@given(requests())
def test_a_refusal_is_a_status_of_four_hundred_or_more(raw: bytes) -> None:
    end = end_of_head(raw)
    assume(end > 0)
    try:
        parse_head(raw[:end])
    except Refusal as error:
        assert re.fullmatch(r"(400|431|501|505) [ -~]+", error.status)


@every()
@given(st.binary(max_size=60), cuts)
def test_bytes_that_are_no_request_are_refused_and_never_crash(raw: bytes, at: list[int]) -> None:
    searched = b""
    for part in pieces(raw + b"\r\n\r\n", at):
        start = len(searched)
        searched += part
        end = end_of_head(searched, start)
        if end > 0:
            assert end == end_of_head(searched), "found at the first place, wherever the bytes were cut"
            try:
                parse_head(searched[:end])
            except Refusal:
                return


@every()
@given(requests(), st.integers(0, 500))
def test_the_end_of_a_head_does_not_depend_on_how_it_was_cut(raw: bytes, cut: int) -> None:
    whole = end_of_head(raw)
    first = end_of_head(raw[:cut])
    assert first == whole if first >= 0 else end_of_head(raw, min(cut, len(raw))) == whole


@every()
@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=6),
    st.sampled_from([b"", b";a=b", b" ;x", b'; q="1;2"']),
    st.sampled_from([b"", b"X: y\r\n", b"Content-Length: 9\r\n"]),
    st.binary(max_size=20),
    cuts,
)
def test_chunks_come_out_as_they_went_in(
    chunks: list[bytes], extension: bytes, trailer: bytes, after: bytes, at: list[int]
) -> None:
    wire = (
        b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
    )
    assert read_chunked(pieces(wire + after, at)) == (b"".join(chunks), after, True)


@every(500)
@given(_bodies, st.binary(max_size=10), cuts)
def test_a_chunked_body_is_read_or_refused_alike_however_it_was_cut(body: bytes, after: bytes, at: list[int]) -> None:
    assert read_chunked(pieces(body + after, at)) == read_chunked([body + after])


@pytest.mark.parametrize("length", [4095, 4096, 4097, 5000])
def test_a_long_chunk_extension_is_refused_or_not_however_it_was_cut(length: int) -> None:
    wire = b"1;" + b"a" * (length - 4) + b"\r\nx\r\n0\r\n\r\n"
    expected = "400 Bad Request" if length > 4097 else (b"x", b"", True)
    for size in (1, 7, 1000, len(wire)):
        parts = [wire[place : place + size] for place in range(0, len(wire), size)]
        assert read_chunked(parts) == expected, size


def test_many_small_chunks_cost_time_in_proportion_to_their_number() -> None:
    """`feed` once cut its buffer at each chunk: 0.6 s of processor time for 256 KiB, and four times that for twice."""
    small, large = (min(read_time(b"1\r\na\r\n" * count) for _ in range(3)) for count in (8_000, 64_000))
    assert large < 32 * small, "8 times the chunks cost more than 4 times the share"


def read_time(wire: bytes) -> float:
    started = time.process_time()
    ChunkedBody().feed(wire)
    return time.process_time() - started


@every()
@given(st.integers(0, 60), st.binary(max_size=80), cuts)
def test_a_body_of_known_length_ends_where_it_should(length: int, data: bytes, at: list[int]) -> None:
    body, content, rest = LengthBody(length), b"", b""
    for part in pieces(data, at):
        more, left = body.feed(part)
        content, rest = content + more, rest + left
    assert (content, rest) == (data[:length], data[length:])
    assert body.is_complete == (len(data) >= length)


BOTH = [b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"]
LENGTHS = [b"+6", b"-6", b"6_0", b"0x6", b"6 6", b"6,6", b"6;", b"6.0", b"6e0", b"\xd9\xa6", b"", b"6" * 19]
ENCODINGS = [
    b"xchunked",
    b"chunked, chunked",
    b"identity",
    b"gzip, chunked",
    b"chunked, identity",
    b"\x0bchunked",
    b'"chunked"',
]
TRICKS = [
    *BOTH,
    *(b"Content-Length: " + length + b"\r\n" for length in LENGTHS),
    *(b"Transfer-Encoding: " + encoding + b"\r\n" for encoding in ENCODINGS),
    b"Content-Length: 6\r\nContent-Length: 6\r\n",
    b"Content-Length: 6\r\nContent-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length : 6\r\n",
    b"Content-Length\t: 6\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"X: y\r\n Content-Length: 6\r\n",
    b"X: y\rContent-Length: 6\r\n",
    b"X: y\r\r\nContent-Length: 6\r\n",
    b"X: y\x00\r\nContent-Length: 6\r\n",
    b"\x0bContent-Length: 6\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
]


@every(400)
@given(st.sampled_from(TRICKS), st.sampled_from([b"", b"A: b\r\n"]), st.sampled_from([b"", b"C: d\r\n"]))
def test_no_trick_that_hides_where_a_request_ends_is_accepted(trick: bytes, before: bytes, after: bytes) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: h\r\n" + before + trick + after + b"\r\n" + b"0\r\n\r\n" + SMUGGLED
    with pytest.raises(Refusal):
        parse_head(raw[: end_of_head(raw)])
