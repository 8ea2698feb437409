"""Embedding vectors, with the arithmetic of Ollama's server: float32, added in the order in which Go adds."""

from __future__ import annotations

import base64
import binascii
import math
from array import array


class BadVector(ValueError):
    """Not a vector to answer with; the text says why."""


def from_base64(text: str) -> array[float]:
    """A vector as vLLM sends it with `encoding_format: base64`: float32, little-endian.

    :raises BadVector: the text is not base64 of whole numbers.
    """
    vector = array("f")
    try:
        vector.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadVector(f"an embedding that cannot be read: {error}") from None
    return vector


def embedding(raw: array[float], dimensions: int) -> array[float]:
    """What `/api/embed` answers with for a vector of the model: length 1, and cut to the first `dimensions`, if any.

    It is normalised, cut, and normalised again: so every bit is as recorded from Ollama 0.32.15.

    :raises BadVector: it has numbers that are not finite.
    """
    whole = normalised(raw)
    return normalised(whole[:dimensions]) if 0 < dimensions < len(whole) else whole


def check_finite(vector: array[float]) -> None:
    """:raises BadVector: it has numbers that JSON cannot tell."""
    if not all(map(math.isfinite, vector)):
        raise BadVector("embedding contains NaN or Inf values")


def normalised(vector: array[float]) -> array[float]:
    """The vector with length 1; zeros stay zeros.

    :raises BadVector: it has numbers that are not finite.
    """
    squares = array("f", [value * value for value in vector])
    total = array("f", (0.0,))
    for square in squares:
        total[0] += square  # an element of the array, so each sum is rounded to float32
    if not math.isfinite(total[0]):
        check_finite(vector)
    factor = array("f", (1.0 / math.sqrt(total[0]) if total[0] > 0 else 0.0,))[0]
    return array("f", [value * factor for value in vector])
