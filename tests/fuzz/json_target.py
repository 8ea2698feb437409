"""Any bytes as the body of a request: decoded, read, translated for vLLM; by the adapter, and by Python's json."""

from __future__ import annotations

import json
import math
from typing import Any

from ollama_adapter.go.decode import Reading, from_base64
from ollama_adapter.go.json import BadBody, decode, escape, quote
from ollama_adapter.go.template_nodes import TemplateError
from ollama_adapter.http.error_shapes import error_body
from ollama_adapter.ollama.names import InvalidName, parse
from ollama_adapter.ollama.options import BadOption
from ollama_adapter.ollama.requests import BadFormat, Kind, TextRequest, read_text_request
from ollama_adapter.ollama.times import DurationError, parse_duration
from ollama_adapter.vllm.to_vllm import TextModel, to_vllm
from tests.fuzz.findings import Finding

MODEL = TextModel("llm", 2048, frozenset({"completion", "tools", "vision", "thinking", "insert"}), True, {})
READING = Reading(string_arguments=True, data_uri_images=True, content_parts=True)
_KINDS: tuple[Kind, ...] = ("generate", "chat")


def check_json(data: bytes) -> None:
    """See the module.

    :raises Finding: the two decoders disagree, or vLLM would refuse what came out.
    """
    try:
        decoded = decode(data)
    except BadBody as error:
        _check_escaped(error_body(str(error)))
        decoded = None
        if python_value(data) is not _INVALID and b"[[[[" not in data and b'{"' * 99 not in data:
            raise Finding(f"refused what Python reads: {error}: {data[:300]!r}") from None
    else:
        expected = python_value(data)
        if expected is not _INVALID and not same(decoded, expected):
            raise Finding(f"read differently: {decoded!r}, Python says {expected!r}")
    for kind in _KINDS:
        check_translation(kind, data)
    text = data.decode("utf-8", "replace")
    _check_escaped(quote(text))
    for read, refusal in ((parse, InvalidName), (parse_duration, DurationError), (from_base64, BadBody)):
        try:
            read(text)
        except refusal as error:
            _check_escaped(error_body(str(error)))


def check_translation(kind: Kind, body: bytes) -> dict[str, Any] | None:
    """Read a body and translate it; None where it is refused in one of the documented ways.

    :raises Finding: vLLM would refuse the sampling fields.
    """
    try:
        request: TextRequest = read_text_request(kind, decode(body), body, READING, top_level=True)
        request.check_options()
        translated = to_vllm(request, MODEL)
    except (BadBody, BadOption, BadFormat, TemplateError) as error:
        _check_escaped(error_body(str(error)))
        return None
    fields = _check_text(translated.body)
    check_sampling(fields)
    assert isinstance(fields, dict)
    return fields


def check_sampling(fields: dict[str, Any]) -> None:
    """Every sampling field is one that vLLM 0.32 takes (ollama-api 7.1).

    :raises Finding: it is not.
    """
    ranges: dict[str, Any] = {
        "temperature": lambda value: 0 <= value <= 2,
        "top_p": lambda value: 0 < value <= 1,
        "top_k": lambda value: isinstance(value, int) and -1 <= value < 2**31,
        "min_p": lambda value: 0 <= value <= 1,
        "repetition_penalty": lambda value: 0 < value < math.inf,
        "presence_penalty": lambda value: -2 <= value <= 2,
        "frequency_penalty": lambda value: -2 <= value <= 2,
        "seed": lambda value: isinstance(value, int) and -(2**63) <= value < 2**63,
        "max_tokens": lambda value: isinstance(value, int) and 1 <= value <= MODEL.max_model_len,
        "stop": lambda value: all(isinstance(text, str) and text for text in value),
        "tools": bool,
        "top_logprobs": lambda value: 0 <= value <= 20,
    }
    for name, is_right in ranges.items():
        if name in fields and not is_right(fields[name]):
            raise Finding(f"vLLM refuses {name}: {fields[name]!r}")


_INVALID = object()


def python_value(data: bytes) -> Any:
    """What Python's json reads; `_INVALID` where it reads nothing, or where Go and Python are known to differ."""
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            return _INVALID
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _INVALID
    # Go replaces a lone surrogate, Python keeps it; a number too large for a double is an error in Go's own words.
    if any(0xD800 <= ord(character) < 0xE000 for character in json.dumps(value, ensure_ascii=False)):
        return _INVALID
    return value


def same(left: Any, right: Any) -> bool:
    """Equal values of equal types; an integer beyond 64 bits may be a float."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(right, int) and not isinstance(right, bool) and not -(2**63) <= right < 2**64:
        return isinstance(left, int | float) and (left == right or math.isclose(left, right) or math.isinf(left))
    return type(left) is type(right) and left == right


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _check_text(encoded: bytes) -> Any:
    """What the adapter wrote is JSON in UTF-8.

    :raises Finding: otherwise.
    """
    try:
        value = json.loads(encoded.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Finding(f"wrote what is no JSON: {error}: {encoded[:300]!r}") from None
    return value


def _check_escaped(encoded: bytes) -> None:
    _check_text(encoded)
    if escape(encoded) != encoded:
        raise Finding(f"escaped too little: {encoded[:300]!r}")
