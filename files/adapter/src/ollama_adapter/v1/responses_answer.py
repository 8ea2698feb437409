"""Answers of `/v1/responses`: OpenAI's response object, or its events.

Ollama writes the whole object from a struct and the events from maps, whose keys Go sorts: so do these.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..go.json import escape, quote
from ..go.numbers import float64_list
from ..http.answer import EVENTS
from ..http.error_shapes import PLAIN_JSON
from ..ollama.lines import Ending, ToolCall

_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.json.Encoder().encode


def _number(value: float) -> msgspec.Raw:
    """A float64 as Go writes it: 1, not 1.0."""
    return msgspec.Raw(float64_list([value])[1:-1])


class ResponsesWriter:
    """Writes the answer (see `AnswerWriter`)."""

    stream_type = EVENTS
    whole_type = PLAIN_JSON
    keeps_context = False
    is_stamped = False
    splits_events = True

    def __init__(self, model: str, fields: Mapping[str, Any]) -> None:
        """
        :param model: the name as the client wrote it.
        :param fields: of the request; the answer repeats them.
        """
        self._model = model
        self._fields = fields
        self._id = f"resp_{random.randrange(999_999)}"
        self._message_id = f"msg_{random.randrange(999_999)}"
        self._created = int(time.time())
        self._number = 0  # of the next event
        self._index = 0  # of the output item that is being written
        self._done: list[dict[str, Any]] = []
        self._has_called = False
        self._reasoning_id = ""
        self._thinking: list[str] = []
        self._has_text = False
        self._texts: list[bytes] = []  # the insides of JSON strings
        self._hot_before = b""

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """See `AnswerWriter`."""
        if self._has_called:  # Ollama drops what a model says after its calls
            return b""
        opening = b"" if self._has_text else self._text_opened()
        self._texts.append(escaped)
        number, self._number = self._number, self._number + 1
        return b'%b%b%b%b%d,"type":"response.output_text.delta"}\n\n' % (
            opening,
            self._hot_before,
            escaped,
            self._hot_after,
            number,
        )

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`."""
        parts = [self._begun()]
        if thinking:
            parts.append(self._thought(thinking))
        for call in calls:
            parts.append(self._called(call))
        if text and not calls:
            parts.append(self.text(stamp, quote(text)[1:-1]))
        return b"".join(parts)

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """See `AnswerWriter`."""
        parts = [self._begun(), self._thinking_done()]
        if self._has_text:
            message = self._message()
            if not self._has_called:
                parts.append(self._text_done(message))
            self._done.append(message)
        response = self._response("completed", self._done, _usage(ending))
        parts.append(self._event("response.completed", {"response": response}))
        return b"".join(parts)

    def failed(self, message: str) -> bytes:
        """The event that ends a stream which cannot be completed."""
        response = self._response("failed", self._done, None)
        response["error"] = {"code": "server_error", "message": message}
        return self._begun() + self._event("response.failed", {"response": response})

    def whole(
        self,
        stamp: bytes,
        ending: Ending,
        *,
        text: str = "",
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`."""
        output: list[dict[str, Any]] = []
        if thinking:
            output.append(
                {
                    "id": f"rs_{self._id}",
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": thinking}],
                    "encrypted_content": thinking,
                }
            )
        for position, call in enumerate(calls):
            output.append(_call_item(f"fc_{self._id}_{position}", call, "completed"))
        if not calls:
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            head = {"id": self._message_id, "type": "message", "status": "completed", "role": "assistant"}
            output.append({**head, "content": [part]})
        response = self._response("completed", output, _usage(ending))
        for tool, declared in zip(self._fields.get("tools", ()), response["tools"], strict=True):
            if tool.get("tools"):
                declared["tools"] = [_declared(member) for member in tool["tools"]]
        response["reasoning"] = _filled(self._fields.get("reasoning", {}), ("effort", "summary")) or None
        return escape(_encode(response)) + b"\n"

    # Parts of a stream

    def _event(self, kind: str, members: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        body = escape(_encode_sorted({**members, "type": kind, "sequence_number": number}))
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _begun(self) -> bytes:
        if self._number:
            return b""
        response = self._response("in_progress", [], None)
        return self._event("response.created", {"response": response}) + self._event(
            "response.in_progress", {"response": response}
        )

    def _item(self, kind: str, item: dict[str, Any], index: int) -> bytes:
        return self._event(f"response.output_item.{kind}", {"output_index": index, "item": item})

    def _thought(self, thinking: str) -> bytes:
        opening = b""
        if not self._reasoning_id:
            self._reasoning_id = f"rs_{random.randrange(999_999)}"
            opening = self._item("added", {"id": self._reasoning_id, "type": "reasoning", "summary": []}, self._index)
        self._thinking.append(thinking)
        place = {"item_id": self._reasoning_id, "output_index": self._index, "summary_index": 0}
        return opening + self._event("response.reasoning_summary_text.delta", {**place, "delta": thinking})

    def _thinking_done(self) -> bytes:
        if not self._reasoning_id:
            return b""
        identifier, text, index = self._reasoning_id, "".join(self._thinking), self._index
        summary = [{"type": "summary_text", "text": text}]
        item = {"id": identifier, "type": "reasoning", "summary": summary, "encrypted_content": text}
        self._done.append(item)
        self._reasoning_id = ""
        self._thinking.clear()
        self._index += 1
        place = {"item_id": identifier, "output_index": index, "summary_index": 0}
        done = self._event("response.reasoning_summary_text.done", {**place, "text": text})
        return done + self._item("done", item, index)

    def _called(self, call: ToolCall) -> bytes:
        self._has_called = True
        parts = [self._thinking_done()]
        identifier = f"fc_{random.randrange(999_999)}_{call.index}"
        arguments = call.arguments_json.decode()
        place = {"item_id": identifier, "output_index": self._index}
        item = _call_item(identifier, call, "completed")
        parts += (
            self._item("added", {**item, "status": "in_progress", "arguments": ""}, self._index),
            self._event("response.function_call_arguments.delta", {**place, "delta": arguments}),
            self._event("response.function_call_arguments.done", {**place, "arguments": arguments}),
            self._item("done", item, self._index),
        )
        self._done.append(item)
        self._index += 1
        return b"".join(parts)

    def _text_opened(self) -> bytes:
        thinking_done = self._thinking_done()
        self._has_text = True
        item = {"id": self._message_id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        place = {"item_id": self._message_id, "output_index": self._index, "content_index": 0}
        # The keys in Go's order; what changes from event to event is the text and the number behind it.
        self._hot_before = b'event: response.output_text.delta\ndata: {"content_index":0,"delta":"'
        self._hot_after = b'","item_id":"%b","logprobs":[],"output_index":%d,"sequence_number":' % (
            self._message_id.encode(),
            self._index,
        )
        added = self._item("added", item, self._index)
        return thinking_done + added + self._event("response.content_part.added", {**place, "part": _part("")})

    def _text_done(self, message: dict[str, Any]) -> bytes:
        part = message["content"][0]
        place = {"item_id": self._message_id, "output_index": self._index, "content_index": 0}
        text_done = {**place, "text": part["text"], "logprobs": []}
        return (
            self._event("response.output_text.done", text_done)
            + self._event("response.content_part.done", {**place, "part": part})
            + self._item("done", message, self._index)
        )

    def _message(self) -> dict[str, Any]:
        text = msgspec.json.decode(b'"%b"' % b"".join(self._texts), type=str)
        head = {"id": self._message_id, "type": "message", "status": "completed", "role": "assistant"}
        return {**head, "content": [_part(text)]}

    # The response object

    def _response(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The object with the keys in the order of Ollama's struct."""
        fields = self._fields
        reasoning = fields.get("reasoning", {})
        names = ("effort", "summary")
        has_reasoning = any(reasoning.get(name) for name in names)
        text_format = _filled(fields.get("text", {}).get("format", {}), ("type", "name", "schema", "strict"))
        if "schema" in text_format:
            text_format["schema"] = msgspec.Raw(_encode(text_format["schema"]))  # its keys stay as they came
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "incomplete_details": None,
            "model": self._model,
            "previous_response_id": None,
            "instructions": fields.get("instructions") or None,
            "output": output,
            "error": None,
            "tools": [_declared(tool) for tool in fields.get("tools", ())],
            "tool_choice": "auto",
            "truncation": fields.get("truncation", "disabled"),
            "parallel_tool_calls": True,
            "text": {"format": text_format or {"type": "text"}},
            "top_p": _number(fields.get("top_p", 1.0)),
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "temperature": _number(fields.get("temperature", 1.0)),
            "reasoning": {name: reasoning.get(name) or None for name in names} if has_reasoning else None,
            "usage": usage,
            "max_output_tokens": fields.get("max_output_tokens"),
            "max_tool_calls": None,
            "store": False,
            "background": fields.get("background", False),
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(identifier: str, call: ToolCall, status: str) -> dict[str, Any]:
    head = {"id": identifier, "type": "function_call", "status": status, "call_id": call.id, "name": call.name}
    return {**head, "arguments": call.arguments_json.decode()}


def _declared(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as the request declared it, with the fields that Ollama knows."""
    declared: dict[str, Any] = {"type": tool.get("type", ""), "name": tool.get("name", "")}
    for name in ("description", "strict", "parameters"):
        declared[name] = tool.get(name)
    if declared["parameters"] is not None:
        declared["parameters"] = msgspec.Raw(_encode_sorted(declared["parameters"]))  # a map in Ollama
    return declared


def _filled(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: fields[name] for name in names if fields.get(name) not in (None, "")}


def _usage(ending: Ending) -> dict[str, Any]:
    prompt, completion = ending.usage.prompt_tokens, ending.usage.completion_tokens or 0
    return {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
