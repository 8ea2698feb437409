"""`/v1/messages`: Anthropic's request as one for `/api/chat` (ollama-api 5.6). The answer: `v1_messages_answer`.

`tool_choice`, `metadata` and the cache marks of blocks are ignored, as by Ollama. So are tools of Anthropic's own, web
search for one: Ollama runs that in its cloud, and here is nobody to run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..go.decode import Shape, anything, boolean, from_base64, integer, json_object, kind_of, read_object, string
from ..go.json import BadBody, quote
from ..ollama.listing import to_json
from ..ollama.requests import TextRequest
from .reading import list_of, number, present, read_request, struct

_BLOCK: Shape = {
    "type": string,
    "text": string,
    "source": struct("anthropic.ImageSource", dict.fromkeys(("type", "media_type", "data", "url"), string)),
    "id": string,
    "name": string,
    "input": json_object,
    "tool_use_id": string,
    "content": anything,
    "is_error": boolean,
    "thinking": string,
    "signature": string,
}
_TOOL: Shape = {"type": string, "name": string, "description": string, "input_schema": anything}


def _message(value: Any, path: str) -> dict[str, Any]:
    """A message with its content as blocks. Read apart from the body, so Go's words do not name the way to it."""
    if not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(value)} into Go value of type struct")
    members = {name.lower(): item for name, item in value.items()}
    if "content" not in members:
        raise BadBody("unexpected end of JSON input")
    content = members["content"]
    if content is None or isinstance(content, str):
        blocks = [{"type": "text", "text": content or ""}]
    elif isinstance(content, list):
        blocks = [read_object(block, "ContentBlock", _BLOCK) for block in content]
    else:
        raise BadBody(f"json: cannot unmarshal {kind_of(content)} into Go value of type []anthropic.ContentBlock")
    return {"role": read_object({"role": members.get("role")}, "", {"role": string}).get("role", ""), "content": blocks}


_MESSAGES: Shape = {
    "model": string,
    "max_tokens": integer,
    "messages": list_of("anthropic.MessageParam", _message),
    "system": anything,
    "stream": boolean,
    "temperature": number("float64"),
    "top_p": number("float64"),
    "top_k": integer,
    "stop_sequences": list_of("string", string),
    "tools": list_of("anthropic.Tool", struct("anthropic.Tool", _TOOL), dict),
    "thinking": struct("anthropic.ThinkingConfig", {"type": string, "budget_tokens": integer}),
    "output_config": struct("anthropic.OutputConfig", {"effort": string}),
}

_OPTIONS = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


@dataclass
class MessagesRequest:
    """What a body asks for."""

    text: TextRequest
    estimated_tokens: int  # of the prompt: a stream begins before they are counted


def read_messages(decoded: Any) -> MessagesRequest:
    """Read the body of a request.

    :raises BadBody: the answer is 400 with this text.
    """
    fields = read_request(decoded, "anthropic", "MessagesRequest", _MESSAGES)
    if not fields.get("model"):
        raise BadBody("model is required")
    if fields.get("max_tokens", 0) <= 0:
        raise BadBody("max_tokens is required and must be positive")
    if not fields.get("messages"):
        raise BadBody("messages is required")
    system = _system_text(fields.get("system"))
    messages = [{"role": "system", "content": system}] if system else []
    for message in fields["messages"]:
        messages += _converted(message["role"].lower(), message["content"])
    text = TextRequest(
        "chat",
        model=fields["model"],
        stream=fields.get("stream", False),
        raw_options=present(fields, _OPTIONS),
        think=_think(fields),
        messages=messages,
        tools=[tool for tool in map(_tool, fields.get("tools", ())) if tool],
    )
    return MessagesRequest(text, _estimated_tokens(fields))


def _system_text(system: Any) -> str:
    if isinstance(system, list):
        blocks = [block for block in system if isinstance(block, dict) and block.get("type") == "text"]
        return "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))
    return system if isinstance(system, str) else ""


def _think(fields: dict[str, Any]) -> bool | str | None:
    kind = fields.get("thinking", {}).get("type")
    if kind in ("enabled", "disabled"):
        return bool(kind == "enabled")
    return _EFFORTS.get(fields.get("output_config", {}).get("effort", "").strip().lower())


def _tool(tool: dict[str, Any]) -> dict[str, Any] | None:
    if tool.get("type", "custom") not in ("", "custom"):
        return None
    schema = tool.get("input_schema")
    if schema is not None and not isinstance(schema, dict):
        name = quote(tool.get("name", "")).decode()
        problem = f"json: cannot unmarshal {kind_of(schema)} into Go value of type api.ToolFunctionParameters"
        raise BadBody(f"invalid input_schema for tool {name}: {problem}")
    function: dict[str, Any] = {"name": tool.get("name", ""), "description": tool.get("description", "")}
    return {"type": "function", "function": {**function, "parameters": schema or {"type": "object", "properties": {}}}}


def _converted(role: str, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of `/api/chat` that one of Anthropic's makes: results of tools are messages of their own."""
    texts: list[str] = []
    images: list[bytes] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    thinking = ""
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(block.get("text", ""))
        elif kind == "thinking":
            thinking = block.get("thinking", "")
        elif kind == "image":
            if "source" not in block:
                raise BadBody("invalid image source")
            images.append(_image(block["source"]))
        elif kind == "tool_use":
            for required in ("id", "name"):
                if not block.get(required):
                    raise BadBody(f"tool_use block missing required '{required}' field")
            calls.append({"id": block["id"], "function": {"name": block["name"], "arguments": block.get("input", {})}})
        elif kind == "tool_result":
            content, pictures = _result(block.get("content"))
            result = {"role": "tool", "content": content, "images": pictures}
            results.append({**result, "tool_call_id": block.get("tool_use_id", "")})
    text = "".join(texts)
    own: list[dict[str, Any]] = []
    if text or images or calls or thinking:
        own = [{"role": role, "content": text, "images": images, "thinking": thinking, "tool_calls": calls}]
    return [*results, *own] if role == "user" else [*own, *results]


def _image(source: dict[str, Any]) -> bytes:
    kind = source.get("type", "")
    if kind != "base64":
        raise BadBody(f"invalid image source type: {kind}. Only base64 images are supported.")
    try:
        return from_base64(source.get("data", ""))
    except BadBody as error:
        raise BadBody(f"invalid base64 image data: {error}") from None


def _result(content: Any) -> tuple[str, list[bytes]]:
    """Text and pictures of a tool's result."""
    if not isinstance(content, list):
        return (content if isinstance(content, str) else ""), []
    texts: list[str] = []
    images: list[bytes] = []
    for block in content:
        if not isinstance(block, dict):
            continue
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") == "image":
            source = block.get("source")
            if not isinstance(source, dict):
                raise BadBody("invalid tool_result image source")
            images.append(_image({key: value for key, value in source.items() if isinstance(value, str)}))
    return "".join(texts), images


def _estimated_tokens(fields: dict[str, Any]) -> int:
    """Ollama's guess at the length of the prompt: a quarter of its bytes."""
    system = fields.get("system")
    total = len(system.encode()) if isinstance(system, str) else 0
    if isinstance(system, list):
        total += sum(_block_bytes(block) for block in system if isinstance(block, dict))
    for message in fields["messages"]:
        total += len(message["role"].encode()) + sum(map(_block_bytes, message["content"]))
    for tool in fields.get("tools", ()):
        total += len((tool.get("name", "") + tool.get("description", "")).encode())
        total += len(to_json(tool["input_schema"])) if "input_schema" in tool else 0
    return max(total // 4, 1)


def _block_bytes(block: dict[str, Any]) -> int:
    texts = [block.get(name) for name in ("text", "thinking")]
    total = sum(len(text.encode()) for text in texts if isinstance(text, str))
    if block.get("type") in ("tool_use", "tool_result"):
        total += len(to_json({name: value for name, value in block.items() if value or name == "input"}))
    return total
