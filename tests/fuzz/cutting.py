"""Bytes cut into the pieces in which a network may deliver them; the first two bytes of an input say how."""

from __future__ import annotations

import random

MAX_PIECES = 600


def pieces_of(data: bytes, mode: int, seed: int) -> list[bytes]:
    """Whole, byte by byte, in equal pieces, or at places drawn by chance."""
    kind = mode % 4
    if not data or kind == 0:
        return [data] if data else []
    if kind == 1 and len(data) <= MAX_PIECES:
        return [data[position : position + 1] for position in range(len(data))]
    if kind == 2:
        size = max(seed + 1, len(data) // MAX_PIECES + 1)
        return [data[position : position + size] for position in range(0, len(data), size)]
    chance = random.Random(seed)
    cuts = (
        sorted(chance.sample(range(1, len(data)), min(len(data) - 1, chance.randint(1, 12)))) if len(data) > 1 else []
    )
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
