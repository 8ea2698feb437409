"""`/v1/responses`: OpenAI's request as one for `/api/chat` (ollama-api 5.6). The answer: `v1_responses_answer`.

Stateless, as Ollama's: `conversation`, `background` and `previous_response_id` have no effect. Tools that are neither
functions nor groups of them (web search, file search, ...) are ignored: Ollama runs web searches in its cloud, and here
is nobody to run them. The answer still names them, for clients that look for what they sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..go.decode import Shape, anything, boolean, integer, json_object, kind_of, read_object, string
from ..go.json import BadBody, quote
from ..ollama.requests import TextRequest
from .reading import image, list_of, number, present, read_request, struct, think_for, tool_arguments


def _input(value: Any, path: str) -> str | list[dict[str, Any]]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        problem = f"json: cannot unmarshal {kind_of(value)} into Go value of type []json.RawMessage"
        raise BadBody(f"input must be a string or array: {problem}")
    return [_numbered("input", number, item, _input_item) for number, item in enumerate(value)]


def _numbered(name: str, number: int, item: Any, read: Any) -> Any:
    try:
        return read(item)
    except BadBody as error:
        raise BadBody(f"{name}[{number}]: {error}") from None


_TYPE: Shape = {"type": string, "role": string}


def _input_item(item: Any) -> dict[str, Any]:
    if item is not None and not isinstance(item, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(item)} into Go value of type struct")
    found = read_object(item, "", _TYPE)
    kind = found.get("type", "") or ("message" if found.get("role") else "")
    if kind not in _ITEMS:
        if not kind:
            raise BadBody("input item missing required 'type' field")
        raise BadBody(f"unknown input item type: {quote(kind).decode()}")
    type_name, shape = _ITEMS[kind]
    return {**read_object(item, type_name, shape), "type": kind}


def _content(name: str) -> Any:
    """A reader of `content` or `output`: a text, or a list of parts."""

    def read(value: Any, path: str) -> list[dict[str, Any]]:
        if isinstance(value, str):
            return [{"type": "input_text", "text": value}]
        if not isinstance(value, list):
            problem = f"json: cannot unmarshal {kind_of(value)} into Go value of type []json.RawMessage"
            raise BadBody(f"{name} must be a string or array: {problem}")
        return [_numbered(name, number, part, _part) for number, part in enumerate(value)]

    return read


_PART: Shape = dict.fromkeys(("type", "text", "detail", "file_id", "image_url", "file_data", "file_url"), string)


def _part(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(value)} into Go value of type struct")
    kind = read_object(value, "", {"type": string}).get("type", "")
    if kind not in ("input_text", "output_text", "input_image", "input_file"):
        raise BadBody(f"unknown content type: {kind}")
    return read_object(value, "ResponsesContent", _PART)


_SUMMARY = list_of("openai.ResponsesReasoningSummary", struct("", {"type": string, "text": string}), dict)
_ITEMS: dict[str, tuple[str, Shape]] = {
    "message": ("ResponsesInputMessage", {"role": string, "content": _content("content")}),
    "function_call": (
        "ResponsesFunctionCall",
        dict.fromkeys(("id", "call_id", "name", "arguments"), string),
    ),
    "function_call_output": ("ResponsesFunctionCallOutput", {"call_id": string, "output": _content("output")}),
    "reasoning": ("ResponsesReasoningInput", {"id": string, "summary": _SUMMARY, "encrypted_content": string}),
    "web_search_call": ("ResponsesWebSearchCall", {"id": string, "status": string}),
}


def _tool(value: Any, path: str) -> dict[str, Any]:
    return struct("openai.ResponsesTool", _TOOL)(value, path)  # type: ignore[no-any-return]


_TOOL: Shape = {
    "type": string,
    "name": string,
    "description": string,
    "strict": boolean,
    "parameters": json_object,
    "tools": list_of("openai.ResponsesTool", _tool, dict),
}
_FORMAT: Shape = {"type": string, "name": string, "schema": anything, "strict": boolean}
_RESPONSES: Shape = {
    "model": string,
    "background": boolean,
    "include": list_of("string", string),
    "input": _input,
    "instructions": string,
    "max_output_tokens": integer,
    "reasoning": struct("openai.ResponsesReasoning", dict.fromkeys(("effort", "generate_summary", "summary"), string)),
    "temperature": number("float64"),
    "text": struct("openai.ResponsesText", {"format": struct("openai.ResponsesTextFormat", _FORMAT)}),
    "top_p": number("float64"),
    "truncation": string,
    "tools": list_of("openai.ResponsesTool", _tool, dict),
    "tool_choice": anything,
    "parallel_tool_calls": anything,
    "stream": boolean,
}
# Passed on to vLLM where there are tools: see `v1_chat`.
_FOR_VLLM_WITH_TOOLS = ("parallel_tool_calls",)


@dataclass
class ResponsesRequest:
    """What a body asks for."""

    text: TextRequest
    fields: dict[str, Any] = field(default_factory=dict)  # as they came: the answer repeats them


def read_responses(decoded: Any) -> ResponsesRequest:
    """Read the body of a request.

    :raises BadBody: the answer is 400 with this text.
    """
    fields = read_request(decoded, "openai", "ResponsesRequest", _RESPONSES)
    messages: list[dict[str, Any]] = []
    if fields.get("instructions"):
        messages.append({"role": "system", "content": fields["instructions"]})
    given = fields.get("input", "")
    if isinstance(given, str):
        messages += [{"role": "user", "content": given}] if given else []
    else:
        _add_items(messages, given)
    names = {"temperature": "temperature", "top_p": "top_p", "max_output_tokens": "num_predict"}
    text_format = fields.get("text", {}).get("format", {})
    tools = [tool for declared in fields.get("tools", ()) for tool in _functions(declared)]
    more = {name: fields[name] for name in _FOR_VLLM_WITH_TOOLS if tools and name in fields}
    choice = _tool_choice(fields.get("tool_choice"))
    if tools and choice is not None:
        more["tool_choice"] = choice
    text = TextRequest(
        "chat",
        model=fields.get("model", ""),
        stream=fields.get("stream", False),
        raw_options={"temperature": 1.0, **present(fields, names)},
        format=text_format.get("schema") if text_format.get("type") == "json_schema" else None,
        think=think_for(fields.get("reasoning", {}).get("effort", "")),
        messages=messages,
        tools=tools,
        more=more,
    )
    return ResponsesRequest(text, fields)


def _tool_choice(choice: Any) -> Any:
    """`tool_choice` as chat completions has it: there the name of a function is one level deeper."""
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice["name"]}} if "name" in choice else None
    return choice if choice in ("auto", "none", "required") else None


def _functions(tool: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """The functions that a declaration stands for: those of a group carry its name in front."""
    kind, name = tool.get("type", ""), tool.get("name", "")
    if kind == "namespace":
        members = [function for member in tool.get("tools", ()) for function in _functions(member)]
        for member in members:
            function = member["function"]
            if name and not function["name"].startswith(f"{name}."):
                function["name"] = f"{name}.{function['name']}"
        return members
    if kind not in ("function", "custom"):
        return []
    parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    function = {"name": name, "description": tool.get("description", ""), "parameters": parameters}
    return [{"type": "function", "function": function}]


def _add_items(messages: list[dict[str, Any]], items: list[dict[str, Any]]) -> None:
    thinking = ""  # belongs to the next message of the assistant
    for position, item in enumerate(items):
        kind = item["type"]
        if kind == "reasoning":
            thinking = item.get("encrypted_content", "")
            continue
        if kind == "function_call_output":
            content, images = _text_and_images(item.get("output", []))
            output = {"role": "tool", "content": content, "images": images}
            messages.append({**output, "tool_call_id": item.get("call_id", "")})
            continue
        if kind == "web_search_call":
            continue
        last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
        if kind == "function_call":
            if last is None:
                last = {"role": "assistant", "content": ""}
                messages.append(last)
            last.setdefault("tool_calls", []).append(_call(item))
            thinking = _moved(thinking, last)
            continue
        content, images = _text_and_images(item.get("content", []))
        message: dict[str, Any] = {"role": item.get("role", "").lower(), "content": content, "images": images}
        if message["role"] == "assistant":
            thinking = _moved(thinking, message)
            if last is not None and _answers(items[position + 1 : position + 2], last):
                _merge(last, message)
                continue
        messages.append(message)
    if thinking:
        messages.append({"role": "assistant", "content": "", "thinking": thinking})


def _moved(thinking: str, message: dict[str, Any]) -> str:
    if thinking:
        message["thinking"] = thinking
    return ""


def _answers(following: list[dict[str, Any]], message: dict[str, Any]) -> bool:
    """Whether the next item is the result of one of the message's calls."""
    if not following or following[0]["type"] != "function_call_output":
        return False
    return any(call["id"] == following[0].get("call_id", "") for call in message.get("tool_calls", ()))


def _merge(last: dict[str, Any], message: dict[str, Any]) -> None:
    """A message between a call and its result becomes one with the call, so that the result follows the call."""
    last["content"] = "\n".join(filter(None, (last["content"], message["content"])))
    last["images"] = [*last.get("images", ()), *message["images"]]
    if message.get("thinking"):
        last["thinking"] = message["thinking"]


def _call(item: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if item.get("arguments"):
        try:
            arguments = tool_arguments(item["arguments"])
        except BadBody:
            problem = "Value looks like object, but can't find closing '}' symbol"
            raise BadBody(f"failed to parse function call arguments: {problem}") from None
    return {"id": item.get("call_id", ""), "function": {"name": item.get("name", ""), "arguments": arguments}}


def _text_and_images(parts: list[dict[str, Any]]) -> tuple[str, list[bytes]]:
    texts: list[str] = []
    images: list[bytes] = []
    for part in parts:
        kind = part.get("type")
        if kind == "input_file":
            raise BadBody("file inputs are not currently supported")
        if kind == "input_image":
            images += [image(part["image_url"])] if part.get("image_url") else []
        else:
            texts.append(part.get("text", ""))
    return "".join(texts), images
