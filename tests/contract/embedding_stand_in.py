"""The embedding variant of the lab's miniature model: the mean of its tokens' vectors, normalised, as a real vLLM answers.

The vectors of letters, digits and the blank are recorded (`recordings/README.md`). Any other token has one that is made
up, always the same, so that texts with such tokens differ; only their values are not those of the real model.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from array import array
from functools import cache
from pathlib import Path
from typing import Any

from tests.contract.lab_model_stand_in import BOS, tokenize

_SIZE = 384
_RECORDED_IDS = (BOS, *range(304, 367))
_RECORDED = Path(__file__).parent / "recordings" / "token-vectors-vllm-0.32.0-cpu.f32"


class RequestError(Exception):
    """A request that vLLM refuses."""

    def __init__(
        self, message: str, kind: str = "BadRequestError", parameter: str | None = None, status: int = 400
    ) -> None:
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": status}}


def embeddings(body: Any, served: tuple[str, ...], context: int) -> bytes:
    """The answer of `/v1/embeddings`.

    :raises RequestError: in the words of vLLM 0.32.0.
    """
    if body.get("model", served[0]) not in served:
        raise RequestError(f"The model `{body['model']}` does not exist.", "NotFoundError", None, 404)
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if not texts:
        raise RequestError("You must pass at least one prompt")
    limit = body.get("truncate_prompt_tokens")
    if limit is not None and limit > context:
        raise RequestError(
            "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
        )
    data, tokens = [], 0
    for index, text in enumerate(texts):
        ids = tokenize(text, special=True)
        if limit is not None:
            keep = context if limit == -1 else limit
            ids = ids[:keep] if body.get("truncation_side") == "right" else ids[-keep:]
        if len(ids) > context:
            raise RequestError(
                f"This model's maximum context length is {context} tokens. However, your prompt contains at least "
                f"{context + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce "
                f"the length of the input prompt. (parameter=input_tokens, value={context + 1})",
                parameter="input_tokens",
            )
        tokens += len(ids)
        vector = mean(ids)
        shown: Any = vector.tolist()
        if body.get("encoding_format") == "base64":
            shown = base64.b64encode(vector.tobytes()).decode()
        data.append({"index": index, "object": "embedding", "embedding": shown})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    answer = {"id": "embd-1", "object": "list", "created": 1, "model": served[0], "data": data, "usage": usage}
    return json.dumps(answer, separators=(",", ":")).encode()


def mean(ids: list[int]) -> array[float]:
    """The vector of a text of these tokens."""
    counts = {number: ids.count(number) for number in dict.fromkeys(ids)}
    total = [0.0] * _SIZE
    for number, count in counts.items():
        total = [old + count * value for old, value in zip(total, _token_vector(number), strict=True)]
    length = math.sqrt(sum(value * value for value in total))
    return array("f", [value / length for value in total])


@cache
def _recorded() -> dict[int, array[float]]:
    values = array("f", _RECORDED.read_bytes())
    return {number: values[at * _SIZE : (at + 1) * _SIZE] for at, number in enumerate(_RECORDED_IDS)}


@cache
def _token_vector(number: int) -> array[float]:
    if number in _recorded():
        return _recorded()[number]
    noise = b"".join(hashlib.sha256(f"{number} {at}".encode()).digest() for at in range(_SIZE // 32))
    values = [byte / 127.5 - 1 for byte in noise]
    length = math.sqrt(sum(value * value for value in values))
    return array("f", [value / length for value in values])
