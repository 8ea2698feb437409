"""What this stand-in generates and embeds: known in advance, and counted in tokens as the lab's model counts them."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# The sentence of the lab's model, in its tokens (lab/model).
SENTENCE = (" The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".")
JSON = ('{"', "answer", '":', " 42", "}")


@dataclass(frozen=True)
class Answer:
    """Pieces as they are streamed, why it ended, and the tokens (one more than pieces if it ended by itself)."""

    pieces: tuple[str, ...]
    done_reason: str
    eval_count: int


def generate(images: Sequence[bytes], *, as_json: bool, limit: int, stops: Sequence[str]) -> Answer:
    """The answer to any prompt. With images it names their sizes; `limit` is num_predict, negative for none."""
    pieces: tuple[str, ...] = JSON if as_json else SENTENCE
    if images and not as_json:
        sizes = " and ".join(f"{len(image)} bytes" for image in images)
        words = f" The image has {sizes}.".split(" ")[1:]
        pieces = tuple(f" {word}" for word in words)
    pieces, is_stopped = _cut_at_stop(pieces, stops)
    # Zero means no limit here: the recorded server generated everything for num_predict 0.
    if 0 < limit <= len(pieces):
        return Answer(pieces[:limit], "length", limit)
    return Answer(pieces, "stop", len(pieces) + (0 if is_stopped else 1))


def _cut_at_stop(pieces: Sequence[str], stops: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    text = "".join(pieces)
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    if not ends:
        return tuple(pieces), False
    kept: list[str] = []
    room = min(ends)
    for piece in pieces:
        if room <= 0:
            break
        kept.append(piece[:room])
        room -= len(piece)
    return tuple(kept), True


def prompt_tokens(system: str, prompts: Sequence[tuple[str, str]]) -> list[int]:
    """Token ids of a rendered prompt: BOS, a marker per role, one id per character, the marker of the answer.

    The counts are those of the lab's model; the ids are only stable.
    """
    ids = [1, 260, *map(_id, system)] if system else [1]
    for role, text in prompts:
        ids += [{"user": 259, "system": 260, "assistant": 261}.get(role, 259), *map(_id, text)]
    return [*ids, 261] if not prompts or prompts[-1][0] != "assistant" else ids


def answer_tokens(pieces: Sequence[str]) -> list[int]:
    """Token ids of an answer: the first characters decide, as nobody decodes them."""
    return [268 + (sum(piece.encode()) % 36) for piece in pieces]


def _id(character: str) -> int:
    return 304 + (ord(character) % 62)


def embed(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that follows from the text alone; similar texts have nothing in common."""
    raw = hashlib.shake_256(text.encode()).digest(4 * dimensions)
    values = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", raw)]
    return normalised(values)


def normalised(values: Sequence[float]) -> list[float]:
    """The vector at length 1, in single precision as Ollama sends it."""
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [struct.unpack("<f", struct.pack("<f", value / length))[0] for value in values]
