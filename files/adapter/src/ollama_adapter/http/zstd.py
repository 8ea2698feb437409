"""Bodies compressed with zstd, as some clients send them. Ollama reads them on `/v1/responses` (ollama-api 1.2)."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What Ollama allows: bytes after decompression, and as a power of two the window that the decompressor must keep.
MAX_BYTES = 20 * 1024 * 1024
_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class BadZstd(ValueError):
    """A body that cannot be decompressed, or grows too large; Ollama answers 400 with a text of this kind."""


def decompressed(data: bytes, limit: int = MAX_BYTES) -> bytes:
    """What a body says, all of its frames after one another. Never holds more than the limit and a frame's window.

    :raises BadZstd: it is not zstd, ends in the middle, or says more than the limit.
    """
    pieces: list[bytes] = []
    room = limit
    try:
        while data:
            decompressor = zstd.ZstdDecompressor(options=_OPTIONS)
            piece = decompressor.decompress(data, room + 1)
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise BadZstd("http: request body too large")
            if not decompressor.eof:
                raise BadZstd("unexpected EOF")
            data = decompressor.unused_data
    except zstd.ZstdError as error:
        raise BadZstd(f"invalid zstd body: {error}") from None
    return b"".join(pieces)
