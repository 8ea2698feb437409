"""Inputs made from other inputs, by chance. The same seed gives the same inputs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.fuzz.corpus import WORDS, seeds

MAX_INPUT_BYTES = 16_384


def inputs(target: str, chance: random.Random) -> Iterator[bytes]:
    """Every seed once as it is, then mutations without end."""
    found = seeds(target)
    yield from found
    while True:
        yield mutated(chance.choice(found), found, chance)


def mutated(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A changed copy."""
    out = bytearray(data)
    for _ in range(1 + int(chance.expovariate(0.6))):
        place = chance.randrange(len(out) + 1)
        end = min(len(out), place + int(chance.expovariate(0.1)))
        match chance.randrange(8):
            case 0:
                out[place:place] = chance.choice(WORDS)
            case 1:
                out[place:end] = chance.choice(WORDS)
            case 2:
                del out[place:end]
            case 3:
                out[place:place] = out[place:end] * chance.randint(1, 4)
            case 4 if out:
                out[min(place, len(out) - 1)] = chance.randrange(256)
            case 5 if out:
                out[min(place, len(out) - 1)] ^= 1 << chance.randrange(8)
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                out[place:] = other[start:]
            case _:  # how it is delivered
                for position in range(min(3, len(out))):
                    out[position] = chance.randrange(256)
    return bytes(out[:MAX_INPUT_BYTES])
