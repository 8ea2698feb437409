"""The key-value head of a GGUF file: what a model says about itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

# Type numbers of the format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# File types that llama.cpp knows, as far as the lab's models use them.
QUANTISATIONS = {0: "F32", 1: "F16", 2: "Q4_0", 7: "Q8_0", 15: "Q4_K_M"}


def read(path: Path) -> dict[str, object]:
    """All keys with their values; nothing for a file that is no GGUF."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return {}
            _, _, count = struct.unpack("<IQQ", stream.read(20))
            return dict(_pair(stream) for _ in range(count))
    except (OSError, struct.error, UnicodeDecodeError):
        return {}


def _pair(stream: BinaryIO) -> tuple[str, object]:
    key = _string(stream)
    return key, _value(stream, _number(stream, "I"))


def _number(stream: BinaryIO, code: str) -> int:
    return int(struct.unpack(f"<{code}", stream.read(struct.calcsize(f"<{code}")))[0])


def _string(stream: BinaryIO) -> str:
    return stream.read(_number(stream, "Q")).decode()


def _value(stream: BinaryIO, kind: int) -> object:
    if kind == STRING:
        return _string(stream)
    if kind == ARRAY:
        inner, count = _number(stream, "I"), _number(stream, "Q")
        return [_value(stream, inner) for _ in range(count)]
    code = f"<{SCALARS[kind]}"
    value: object = struct.unpack(code, stream.read(struct.calcsize(code)))[0]
    return value
