"""A decoded body against the shape of an Ollama request type, with the messages of Go's json.Unmarshal.

A shape is a table: field name to reader. A reader takes a value and the path to it and returns the value to keep;
it raises `BadBody`. Rules (ollama-api 2.1): names match in any case, unknown names and nulls are skipped, the last of
two equal names wins, the first error in the order of the body is the one reported.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..ollama.times import FOREVER_S, DurationError, parse_duration
from .json import BadBody, decode, quote

Reader = Callable[[Any, str], Any]
Shape = Mapping[str, Reader]

THINK_LEVELS = ("high", "medium", "low", "max")
MAX_TOP_LOGPROBS = 20


def read_body(body: bytes, type_name: str, shape: Shape) -> dict[str, Any]:
    """Decode a request body.

    :param type_name: the Go type that messages name, `GenerateRequest` for instance.
    :return: the known fields that are present and not null, under their lower-case names.
    :raises BadBody: the answer is 400 with this text.
    """
    return read_object(decode(body), type_name, shape)


def read_object(value: Any, type_name: str, shape: Shape) -> dict[str, Any]:
    """The same for a body that is decoded already."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(value)} into Go value of type api.{type_name}")
    return _read_fields(value, f"{type_name}.", shape)


def kind_of(value: Any) -> str:
    """What Go calls a JSON value in its messages."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _read_fields(value: dict[str, Any], prefix: str, shape: Shape) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, item in value.items():
        lower = name.lower()
        reader = shape.get(lower)
        if reader is not None and item is not None:
            fields[lower] = reader(item, prefix + lower)
    return fields


def _mismatch(value: Any, path: str, go_type: str, detail: str = "") -> BadBody:
    return BadBody(f"json: cannot unmarshal {kind_of(value)}{detail} into Go struct field {path} of type {go_type}")


def string(value: Any, path: str) -> str:
    """A Go string."""
    if not isinstance(value, str):
        raise _mismatch(value, path, "string")
    return value


def boolean(value: Any, path: str) -> bool:
    """A Go bool."""
    if not isinstance(value, bool):
        raise _mismatch(value, path, "bool")
    return value


def integer(value: Any, path: str) -> int:
    """A Go int: unlike an option, a struct field takes no fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, path, "int")
    if isinstance(value, float):
        raise _mismatch(value, path, "int", f" {value!r}")
    return value


def top_logprobs(value: Any, path: str) -> int:
    """How many alternatives; the range is checked with the body, before the model is looked up."""
    number = integer(value, path)
    if not 0 <= number <= MAX_TOP_LOGPROBS:
        raise BadBody(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return number


def integers(value: Any, path: str) -> list[int]:
    """A Go []int."""
    if not isinstance(value, list):
        raise _mismatch(value, path, "[]int")
    return [integer(item, path) for item in value]


def json_object(value: Any, path: str) -> dict[str, Any]:
    """A Go map[string]interface{}."""
    if not isinstance(value, dict):
        raise _mismatch(value, path, "map[string]interface {}")
    return value


def anything(value: Any, path: str) -> Any:
    """A json.RawMessage or interface{}."""
    return value


def think(value: Any, path: str) -> bool | str:
    """Ollama's ThinkValue."""
    if isinstance(value, bool) or value in THINK_LEVELS:
        return value  # type: ignore[no-any-return]
    allowed = '"high", "medium", "low", "max", true, or false'
    if isinstance(value, str):
        raise BadBody(f"invalid think value: {quote(value).decode()} (must be {allowed})")
    raise BadBody(f"think must be a boolean or string ({allowed})")


def keep_alive(value: Any, path: str) -> float:
    """Seconds until the model may be unloaded; infinite for a negative value (ollama-api 3.2)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        go_type = {"bool": "bool", "array": "[]interface {}", "object": "map[string]interface {}"}[kind_of(value)]
        raise BadBody(f"Unsupported type: '{go_type}'")
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except DurationError as error:
            raise BadBody(str(error)) from None
    try:
        return FOREVER_S if value < 0 else float(value)
    except OverflowError:
        raise BadBody(f"json: cannot unmarshal number {value} into Go value of type float64") from None


def tools(value: Any, path: str) -> list[dict[str, Any]]:
    """A list of tools. The schema of each is passed on as the client wrote it."""
    if not isinstance(value, list):
        raise _mismatch(value, path, "api.Tools")
    for tool in value:
        if not isinstance(tool, dict):
            raise _mismatch(tool, path, "api.Tool")
        function = tool.get("function")
        if function is not None and not isinstance(function, dict):
            raise _mismatch(function, f"{path}.function", "api.ToolFunction")
    return value


class Reading:
    """Readers that depend on what the operator allows beyond Ollama (`[leniency]` of the settings)."""

    def __init__(self, *, string_arguments: bool, data_uri_images: bool, content_parts: bool) -> None:
        self._string_arguments = string_arguments
        self._data_uri_images = data_uri_images
        self._content_parts = content_parts
        self._function: Shape = {"name": string, "arguments": self._arguments}
        self._message: Shape = {
            "role": string,
            "content": self._content,
            "thinking": string,
            "images": self.images,
            "tool_calls": self._tool_calls,
            "tool_name": string,
            "tool_call_id": string,
        }
        shared: Shape = {
            "model": string,
            "stream": boolean,
            "format": anything,
            "keep_alive": keep_alive,
            "options": json_object,
            "think": think,
            "logprobs": boolean,
            "top_logprobs": top_logprobs,
            "truncate": boolean,
            "shift": boolean,
            "_debug_render_only": boolean,
        }
        self.generate: Shape = {
            **shared,
            "prompt": string,
            "suffix": string,
            "system": string,
            "template": string,
            "context": integers,
            "raw": boolean,
            "images": self.images,
        }
        self.chat: Shape = {**shared, "messages": self._messages, "tools": tools}

    def images(self, value: Any, path: str) -> list[bytes]:
        """Pictures, decoded to check them and encoded again by whoever sends them on."""
        if not isinstance(value, list):
            raise _mismatch(value, path, "[]api.ImageData")
        return [self._image(item, path) for item in value]

    def _image(self, value: Any, path: str) -> bytes:
        text = value if isinstance(value, str) else None
        if text is None:
            raise _mismatch(value, path, "api.ImageData")
        if self._data_uri_images and text.startswith("data:"):
            text = text.partition(",")[2]
        return from_base64(text)

    def _messages(self, value: Any, path: str) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise _mismatch(value, path, "[]api.Message")
        messages = []
        for item in value:
            if item is not None and not isinstance(item, dict):
                raise _mismatch(item, path, "api.Alias")  # the type inside Message.UnmarshalJSON
            messages.append(_read_fields(item or {}, f"{path}.", self._message))
        return messages

    def _content(self, value: Any, path: str) -> str:
        if self._content_parts and isinstance(value, list):
            parts = [part.get("text") for part in value if isinstance(part, dict) and part.get("type") == "text"]
            if len(parts) == len(value) and all(isinstance(part, str) for part in parts):
                return "".join(str(part) for part in parts)
        return string(value, path)

    def _tool_calls(self, value: Any, path: str) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise _mismatch(value, path, "[]api.ToolCall")
        calls = []
        for item in value:
            if not isinstance(item, dict):
                raise _mismatch(item, path, "api.ToolCall")
            call = _read_fields(item, f"{path}.", {"id": string, "function": json_object})
            call["function"] = _read_fields(call.get("function", {}), f"{path}.function.", self._function)
            calls.append(call)
        return calls

    def _arguments(self, value: Any, path: str) -> dict[str, Any]:
        if self._string_arguments and isinstance(value, str):
            try:
                value = decode(value.encode())
            except BadBody:
                value = None
        if not isinstance(value, dict):
            raise BadBody("Value looks like object, but can't find closing '}' symbol")
        return value


_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]")


def from_base64(text: str) -> bytes:
    """Decode standard base64.

    :raises BadBody: `illegal base64 data at input byte 4`
    """
    try:
        return base64.b64decode(text.encode("ascii", "replace"), validate=True)
    except binascii.Error:
        pass
    wrong = _NOT_BASE64.search(text)
    if wrong is None:  # line breaks are allowed; what is left is wrong padding
        compact = text.replace("\r", "").replace("\n", "")
        try:
            return base64.b64decode(compact, validate=True)
        except binascii.Error:
            padding = compact.find("=")
            position = len(compact) - len(compact) % 4 if padding < 0 else padding
            raise BadBody(f"illegal base64 data at input byte {position}") from None
    raise BadBody(f"illegal base64 data at input byte {len(text[: wrong.start()].encode())}")
