"""What Ollama's templates see of a request: messages, their calls, and tools, under the names of its Go types.

Facts: `template.go` and `api/types.go` of Ollama. Fields that are missing, or not of their type, are empty here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..go.template_values import Struct, TextList, TextMap, TypeNames, plain_numbers

_PROPERTY = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def message_value(message: Mapping[str, Any]) -> Struct:
    """A message as `go.decode.Reading` reads it. Pictures are not for templates here: see `prompt_template`."""
    fields = {
        "Role": message.get("role", ""),
        "Content": message.get("content", ""),
        "Thinking": message.get("thinking", ""),
        "Images": [],
        "ToolCalls": [_call_value(place, call) for place, call in enumerate(message.get("tool_calls", ()))],
        "ToolName": message.get("tool_name", ""),
        "ToolCallID": message.get("tool_call_id", ""),
    }
    return Struct("*template.templateMessage", fields, lambda: {k: None if v == [] else v for k, v in fields.items()})


def tools_value(tools: Iterable[Mapping[str, Any]]) -> TextList:
    """Tools, as clients declared them."""
    return TextList(map(_tool_value, tools))


def _call_value(place: int, call: Mapping[str, Any]) -> Struct:
    function = call.get("function", {})
    arguments = TextMap(plain_numbers(function.get("arguments", {})))
    inner = {"Index": place, "Name": function.get("name", ""), "Arguments": arguments}
    value = Struct("template.templateToolCallFunction", inner, lambda: inner)
    fields = {"ID": call.get("id", ""), "Function": value}
    return Struct("template.templateToolCall", fields, lambda: fields)


def _tool_value(tool: Mapping[str, Any]) -> Struct:
    items = plain_numbers(tool.get("items"))
    fields = {"Type": _text(tool.get("type")), "Items": items, "Function": _function_value(_map(tool.get("function")))}

    def members() -> dict[str, Any]:
        more = {} if items is None else {"items": items}
        return {"type": fields["Type"], **more, "function": fields["Function"]}

    return Struct("template.templateTool", fields, members, has_text=True)


def _function_value(function: Mapping[str, Any]) -> Struct:
    parameters = _parameters_value(_map(function.get("parameters")))
    name, description = _text(function.get("name")), _text(function.get("description"))
    fields = {"Name": name, "Description": description, "Parameters": parameters}

    def members() -> dict[str, Any]:
        return {"name": name, "description": description, "parameters": parameters}

    return Struct("template.templateToolFunction", fields, members, has_text=True)


def _parameters_value(parameters: Mapping[str, Any]) -> Struct:
    given = parameters.get("properties")
    properties = _properties(given)
    definitions, items = plain_numbers(parameters.get("$defs")), plain_numbers(parameters.get("items"))
    required = _texts(parameters.get("required"))
    kind = _text(parameters.get("type"))
    fields = {"Type": kind, "Defs": definitions, "Items": items, "Required": required, "Properties": properties}

    def members() -> dict[str, Any]:
        more = {"$defs": definitions, "items": items}
        return {
            "type": kind,
            **{name: value for name, value in more.items() if value is not None},
            **({"required": required} if required else {}),
            "properties": properties if isinstance(given, Mapping) else None,
        }

    return Struct("template.templateToolFunctionParameters", fields, members, has_text=True)


def _properties(given: Any) -> TextMap:
    return TextMap({name: _property_value(_map(value)) for name, value in _map(given).items()})


def _property_value(given: Mapping[str, Any]) -> Struct:
    kind = given.get("type")
    choices = given.get("anyOf")
    values = {
        "anyOf": [_property_value(_map(one)) for one in choices] if isinstance(choices, list) else [],
        "type": TypeNames([kind] if isinstance(kind, str) else _texts(kind)),
        "items": plain_numbers(given.get("items")),
        "description": _text(given.get("description")),
        "enum": plain_numbers(given.get("enum")) if isinstance(given.get("enum"), list) else [],
        "properties": _properties(given.get("properties")),
        "required": _texts(given.get("required")),
    }

    def members() -> dict[str, Any]:
        return {name: values[name] for name in _PROPERTY if values[name]}

    fields = {name[0].upper() + name[1:]: value for name, value in values.items()}
    return Struct("api.ToolProperty", fields, members)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
