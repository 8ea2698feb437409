from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ollama_adapter.go.json import BadBody
from ollama_adapter.ollama.lines import Ending, ToolCall
from ollama_adapter.v1.messages import MessagesRequest, read_messages
from ollama_adapter.v1.messages_answer import MessagesWriter
from ollama_adapter.vllm.frames import Usage

HI = {"role": "user", "content": "hi"}
SOURCE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}


def read(**fields: Any) -> MessagesRequest:
    return read_messages({"model": "m", "max_tokens": 5, "messages": [HI], **fields})


def test_options_are_anthropics_and_nothing_else_is_assumed() -> None:
    assert read().text.raw_options == {"num_predict": 5}
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["x"]}
    assert read(**fields).text.raw_options == {
        "num_predict": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ["x"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, False),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "XHIGH "}}, "high"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "other"}}, None),
    ],
)
def test_thinking_is_what_is_asked_for_first(fields: dict[str, Any], think: Any) -> None:
    assert read(**fields).text.think == think


def test_blocks_become_messages_of_ollama() -> None:
    assistant = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
    ]
    user = [
        {"type": "text", "text": "and?"},
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
        {"type": "image", "source": SOURCE},
    ]
    system = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    conversation = [{"role": "assistant", "content": assistant}, {"role": "User", "content": user}]
    messages = read(system=system, messages=conversation).text.messages
    assert messages[0] == {"role": "system", "content": "Be brief."}
    call = {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}
    assert messages[1] == {
        "role": "assistant", "content": "I look.", "thinking": "hm", "images": [], "tool_calls": [call],
    }  # fmt: skip
    assert messages[2] == {"role": "tool", "content": "sunny", "images": [], "tool_call_id": "c1"}
    assert (messages[3]["role"], messages[3]["content"], messages[3]["images"]) == ("user", "and?", [b"\x89PNG"])


def test_tools_of_anthropics_own_are_left_out() -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}]
    assert read(tools=tools).text.tools == [
        {"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object"}}}
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": ""}, "model is required"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
        ({"messages": [{"role": "user"}]}, "unexpected end of JSON input"),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "json: cannot unmarshal number into Go value of type []anthropic.ContentBlock",
        ),
        ({"messages": [{"content": [{"type": "image"}]}]}, "invalid image source"),
        (
            {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}]},
            "invalid image source type: url. Only base64 images are supported.",
        ),
        (
            {"messages": [{"content": [{"type": "image", "source": {**SOURCE, "data": "a!"}}]}]},
            "invalid base64 image data: illegal base64 data at input byte 1",
        ),
        ({"messages": [{"content": [{"type": "tool_use"}]}]}, "tool_use block missing required 'id' field"),
        (
            {"messages": [{"content": [{"type": "tool_use", "id": "c"}]}]},
            "tool_use block missing required 'name' field",
        ),
        (
            {"tools": [{"name": "f", "input_schema": 5}]},
            'invalid input_schema for tool "f": json: cannot unmarshal number into Go value of type '
            "api.ToolFunctionParameters",
        ),
    ],
)
def test_what_is_wrong_is_said_in_ollamas_words(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadBody) as error:
        read(**fields)
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 1),
        ({"system": "x" * 34}, 10),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 36}]}]}, 10),
        ({"tools": [{"name": "fff", "description": "d" * 20, "input_schema": {"a": "b"}}]}, 9),
    ],
)
def test_the_prompt_is_estimated_at_a_quarter_of_its_bytes(fields: dict[str, Any], tokens: int) -> None:
    assert read(**fields).estimated_tokens == tokens


def events(text: bytes) -> list[tuple[str, Any]]:
    found = []
    for event in text.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        decoded = json.loads(data.removeprefix("data: "))
        assert name == f"event: {decoded['type']}"
        found.append((decoded.pop("type"), decoded))
    return found


def test_every_block_of_a_stream_is_opened_and_closed() -> None:
    writer = MessagesWriter("m", estimated_tokens=7)
    out = writer.line(b"", "", thinking="a") + writer.line(b"", "b") + writer.text(b"", b"c")
    out += writer.line(b"", "", calls=[ToolCall(0, "f", {"x": "<"}, "c0"), ToolCall(1, "g", {}, "c1")])
    out += writer.end(b"", Ending("stop", usage=Usage(3, 4)))
    found = events(out)
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    started = found[0][1]["message"]
    assert (started["content"], started["usage"]) == ([], {"input_tokens": 7, "output_tokens": 0})
    assert "stop_reason" not in started
    assert [data["index"] for name, data in found if name == "content_block_start"] == [0, 1, 2, 3]
    assert [data["index"] for name, data in found if name == "content_block_stop"] == [0, 1, 2, 3]
    assert [data["content_block"] for name, data in found if name == "content_block_start"] == [
        {"type": "thinking", "thinking": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {}},
    ]
    deltas = [data["delta"] for name, data in found if name == "content_block_delta"]
    assert [json.loads(delta["partial_json"]) for delta in deltas[3:]] == [{"x": "<"}, {}]
    assert found[-2][1] == {"delta": {"stop_reason": "tool_use"}, "usage": {"input_tokens": 3, "output_tokens": 4}}


@pytest.mark.parametrize(
    ("done_reason", "stop_reason"), [("stop", "end_turn"), ("length", "max_tokens"), ("load", "stop_sequence")]
)
def test_why_an_answer_ended_is_said_in_anthropics_words(done_reason: str, stop_reason: str) -> None:
    assert (
        json.loads(MessagesWriter("m", estimated_tokens=1).whole(b"", Ending(done_reason)))["stop_reason"]
        == stop_reason
    )


def test_a_whole_answer_has_thinking_text_and_calls_in_this_order() -> None:
    writer = MessagesWriter("m", estimated_tokens=1)
    whole = json.loads(
        writer.whole(b"", Ending("stop"), text="b", thinking="a", calls=[ToolCall(0, "f", {"x": 1}, "c0")])
    )
    assert whole["content"] == [
        {"type": "thinking", "thinking": "a"},
        {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"x": 1}},
    ]
    assert whole["stop_reason"] == "tool_use"
    assert json.loads(writer.whole(b"", Ending("stop")))["content"] is None
