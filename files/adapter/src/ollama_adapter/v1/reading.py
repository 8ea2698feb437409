"""Readers that the requests of `/v1/*` share: Go's decoder on OpenAI's and Anthropic's types, with its words."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from ..go.decode import Reader, Shape, kind_of, read_object
from ..go.json import BadBody, decode, quote

_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "ultra": "max",
    "max": "max",
}
_GO_KINDS = {"bool": "bool", "number": "float64", "array": "[]interface {}", "object": "map[string]interface {}"}
_IMAGE_PREFIXES = ("data:;base64,", *(f"data:image/{kind};base64," for kind in ("jpeg", "jpg", "png", "webp")))


def read_request(decoded: Any, package: str, type_name: str, shape: Shape) -> dict[str, Any]:
    """The known fields of a body, under their lower-case names; nulls are left out.

    :raises BadBody: the answer is 400 with this text.
    """
    if decoded is not None and not isinstance(decoded, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(decoded)} into Go value of type {package}.{type_name}")
    return read_object(decoded, type_name, shape)


def mismatch(value: Any, path: str, go_type: str) -> BadBody:
    """What Go says of a value of the wrong type."""
    return BadBody(f"json: cannot unmarshal {kind_of(value)} into Go struct field {path} of type {go_type}")


def number(go_type: str) -> Reader:
    """A Go float64 or float32."""

    def read(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise mismatch(value, path, go_type)
        return float(value)

    return read


def struct(go_type: str, shape: Shape) -> Reader:
    """A Go struct, as the fields that are there."""

    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise mismatch(value, path, go_type)
        return read_object(value, path, shape)

    return read


def list_of(go_type: str, read_one: Reader, empty: Callable[[], Any] | None = None) -> Reader:
    """A Go slice; `empty` makes the zero value that a null in it stands for."""

    def read(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise mismatch(value, path, f"[]{go_type}")
        return [empty() if item is None and empty else read_one(item, path) for item in value]

    return read


def go_type_of(value: Any) -> str:
    """What `%T` prints for a decoded value."""
    if value is None:
        return "<nil>"
    return _GO_KINDS.get(kind_of(value), "string")


def stop_strings(value: Any, *, is_strict: bool) -> list[str] | None:
    """`stop`, a text or a list; None for anything else, which is ignored.

    :param is_strict: anything but texts in the list is an error, as on `/v1/completions`.
    :raises BadBody: see `is_strict`.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return None
    wrong = [item for item in value if not isinstance(item, str)]
    if wrong and is_strict:
        raise BadBody(f"invalid type for 'stop' field: {go_type_of(wrong[0])}")
    return [item for item in value if isinstance(item, str)]


def think_for(effort: str) -> bool | str | None:
    """`think` for a reasoning effort; None where none is given.

    :raises BadBody: there is no such effort.
    """
    if not effort:
        return None
    if effort not in _EFFORTS:
        names = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'
        raise BadBody(f"invalid reasoning value: {quote(effort).decode()} (must be {names})")
    return _EFFORTS[effort]


def image(url: str) -> bytes:
    """The bytes of a picture given as a data URL.

    :raises BadBody: it is a link, or not base64 of a known type.
    """
    if url.startswith(("http://", "https://")):
        raise BadBody("image URLs are not currently supported, please use base64 encoded data instead")
    for prefix in _IMAGE_PREFIXES:
        if url.startswith(prefix):
            try:
                return base64.b64decode(url[len(prefix) :], validate=True)
            except (binascii.Error, ValueError):
                break
    raise BadBody("invalid image input")


def tool_arguments(text: str) -> dict[str, Any]:
    """The arguments of an earlier call, which come as JSON text.

    :raises BadBody: they are not an object.
    """
    try:
        arguments = decode(text.encode())
    except BadBody:
        arguments = text
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise BadBody("invalid tool call arguments")
    return arguments


def present(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are there, under other names: `{"max_tokens": "num_predict"}`."""
    return {new: fields[old] for old, new in names.items() if old in fields}
