from __future__ import annotations

import os
import tracemalloc

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from ollama_adapter.http.zstd import MAX_BYTES, BadZstd, decompressed


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4))
def test_all_frames_are_read_in_their_order(texts: list[bytes]) -> None:
    assert decompressed(b"".join(map(zstd.compress, texts))) == b"".join(texts)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        decompressed(data)
    except BadZstd:
        return
    assert data == b"" or data[:4] in (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16)))


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_body_that_ends_in_the_middle_is_refused(cut: int) -> None:
    with pytest.raises(BadZstd):
        decompressed(zstd.compress(os.urandom(1000))[:-cut])


def test_the_limit_is_one_of_what_comes_out() -> None:
    assert len(decompressed(zstd.compress(bytes(1000)), limit=1000)) == 1000
    for data in (zstd.compress(bytes(1001)), zstd.compress(bytes(600)) * 2):
        with pytest.raises(BadZstd, match="too large"):
            decompressed(data, limit=1000)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    bomb = zstd.compress(bytes(500 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(BadZstd, match="too large"):
            decompressed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    finally:
        tracemalloc.stop()


def test_a_window_that_would_take_much_memory_is_refused() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    # Unknown size, so that the frame keeps the window.
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(os.urandom(1000)) + compressor.flush()
    with pytest.raises(BadZstd, match="zstd"):
        decompressed(data)
