from __future__ import annotations

import json
from typing import Any

import pytest

from ollama_adapter.go.json import BadBody
from ollama_adapter.ollama.lines import Ending, ToolCall
from ollama_adapter.ollama.requests import TextRequest
from ollama_adapter.v1.responses import read_responses
from ollama_adapter.v1.responses_answer import ResponsesWriter
from ollama_adapter.vllm.frames import Usage

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
CALLED = {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}


def read(given: Any = "hi", **fields: Any) -> TextRequest:
    return read_responses({"model": "m", "input": given, **fields}).text


def test_a_text_is_the_users_and_instructions_are_the_systems() -> None:
    request = read("hi", instructions="Be brief.", max_output_tokens=4)
    assert request.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    # top_p is the model's own unless given, unlike in chat completions
    assert request.raw_options == {"temperature": 1.0, "num_predict": 4}


def test_items_become_messages_of_ollama() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "hm"},
        CALL,
        {**OUTPUT, "output": [{"type": "input_text", "text": "sunny"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is."}]},
    ]
    assert read(items).messages == [
        {"role": "user", "content": "ab", "images": []},
        {"role": "assistant", "content": "", "tool_calls": [CALLED], "thinking": "hm"},
        {"role": "tool", "content": "sunny", "images": [], "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is.", "images": []},
    ]


def test_a_message_between_a_call_and_its_result_joins_the_call() -> None:
    said = {"role": "assistant", "content": "I look."}
    messages = read([CALL, said, OUTPUT]).messages
    assert [message["role"] for message in messages] == ["assistant", "tool"]
    assert (messages[0]["content"], messages[0]["tool_calls"]) == ("I look.", [CALLED])
    apart = read([CALL, said, {**OUTPUT, "call_id": "other"}]).messages
    assert [message["role"] for message in apart] == ["assistant", "assistant", "tool"]


def test_thinking_at_the_end_is_a_message_of_its_own() -> None:
    assert read([{"type": "reasoning", "encrypted_content": "hm"}]).messages == [
        {"role": "assistant", "content": "", "thinking": "hm"}
    ]


def test_functions_and_groups_of_them_become_tools_and_the_rest_is_left_out() -> None:
    function = {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}}
    group = {"type": "namespace", "name": "n", "tools": [function, {**function, "name": "n.g"}]}
    tools = read(tools=[function, group, {"type": "web_search"}]).tools
    assert [tool["function"]["name"] for tool in tools] == ["f", "n.f", "n.g"]
    assert {tool["type"] for tool in tools} == {"function"}


def test_a_tool_choice_is_passed_on_in_the_shape_of_chats() -> None:
    function = {"type": "function", "name": "f"}
    assert read(tools=[function], tool_choice=function).more == {
        "tool_choice": {"type": "function", "function": {"name": "f"}}
    }
    assert read(tools=[function], tool_choice="required").more == {"tool_choice": "required"}
    assert read(tool_choice="required").more == {}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            5,
            "input must be a string or array: json: cannot unmarshal number into Go value of type []json.RawMessage",
        ),
        ([{}], "input[0]: input item missing required 'type' field"),
        (["a", {"type": "dream"}], "input[0]: json: cannot unmarshal string into Go value of type struct"),
        ([CALL, {"type": "dream"}], 'input[1]: unknown input item type: "dream"'),
        ([{"role": "user", "content": [{"type": "dream"}]}], "input[0]: content[0]: unknown content type: dream"),
        (
            [{"role": "user", "content": 5}],
            "input[0]: content must be a string or array: json: cannot unmarshal number into Go value of type "
            "[]json.RawMessage",
        ),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "file inputs are not currently supported"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}],
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
    ],
)
def test_what_is_wrong_with_the_input_is_said_in_ollamas_words(given: Any, problem: str) -> None:
    with pytest.raises(BadBody) as error:
        read(given)
    assert str(error.value) == problem


def events(text: bytes) -> list[Any]:
    found = []
    for event in text.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        assert list(found[-1]) == sorted(found[-1]), "Go sorts the keys of a map"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def test_a_stream_tells_each_item_from_beginning_to_end() -> None:
    writer = ResponsesWriter("m", {"temperature": 0.5})
    out = writer.line(b"", "", thinking="a") + writer.line(b"", "b<") + writer.text(b"", b"c")
    found = events(out + writer.end(b"", Ending("length", usage=Usage(3, 4))))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_text.delta", "reasoning_summary_text.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [event["output_index"] for event in found[2:-1]] == [0] * 4 + [1] * 7
    response = found[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"][0]["text"] == "b<c"
    assert (response["temperature"], response["top_p"], response["status"]) == (0.5, 1, "completed")
    assert (response["usage"]["input_tokens"], response["usage"]["total_tokens"]) == (3, 7)
    assert found[0]["response"]["usage"] is None
    assert found[0]["response"]["completed_at"] is None


def test_a_call_is_one_item_and_text_after_it_is_dropped() -> None:
    writer = ResponsesWriter("m", {})
    out = writer.line(b"", "", calls=[ToolCall(0, "f", {"x": 1}, "c0")]) + writer.line(b"", "more")
    found = events(out + writer.end(b"", Ending("stop")))
    assert [event["type"].removeprefix("response.") for event in found[2:-1]] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["function_call"]


def test_a_stream_that_fails_keeps_count() -> None:
    writer = ResponsesWriter("m", {})
    found = events(writer.line(b"", "a") + writer.failed("boom"))
    assert (found[-1]["type"], found[-1]["response"]["error"]["message"]) == ("response.failed", "boom")


def test_a_whole_answer_repeats_the_request_in_ollamas_order() -> None:
    schema = {"z": 1, "a": 2}
    fields = {
        "instructions": "i",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
        "tools": [{"type": "function", "name": "f", "parameters": {"z": 1, "a": 2}}],
        "reasoning": {"effort": "low"},
    }
    text = ResponsesWriter("m", fields).whole(b"", Ending("stop"), text="b", thinking="a").decode()
    whole = json.loads(text)
    assert text.startswith('{"id":"resp_')
    assert '"schema":{"z":1,"a":2}' in text
    assert (
        '"tools":[{"type":"function","name":"f","description":null,"strict":null,"parameters":{"a":2,"z":1}}]' in text
    )
    assert (whole["instructions"], whole["reasoning"]) == ("i", {"effort": "low"})
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["output"][0]["encrypted_content"] == "a"
