from __future__ import annotations

import pytest

from ollama_adapter.upstream.sse import SseDecoder

STREAM = (
    'data: {"a":1}\n\n: keep-alive\n\ndata: {"b":"caf\u00e9 \\n\\n"}\n\nevent: x\ndata: {"c":3}\n\n'
    'data:{"d":4}\n\ndata: one\ndata: two\n\ndata: [DONE]\n\n'
).encode()
PAYLOADS = [b'{"a":1}', '{"b":"caf\u00e9 \\n\\n"}'.encode(), b'{"c":3}', b'{"d":4}', b"one\ntwo", b"[DONE]"]


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CR LF"])
def test_payloads_do_not_depend_on_where_the_network_cut_the_stream(stream: bytes) -> None:
    for cut in range(len(stream) + 1):
        decoder = SseDecoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == PAYLOADS


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CR LF"])
def test_a_stream_that_comes_byte_by_byte_has_the_same_payloads(stream: bytes) -> None:
    decoder = SseDecoder()
    assert [payload for at in range(len(stream)) for payload in decoder.feed(stream[at : at + 1])] == PAYLOADS


def test_an_event_without_its_end_is_not_delivered() -> None:
    assert SseDecoder().feed(b'data: {"a":1}\n') == []


def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        decoder.feed(b"x" * 20)
