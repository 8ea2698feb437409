from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ollama_adapter.go.json import BadBody
from ollama_adapter.ollama.lines import AnswerWriter, Ending, Timings, ToolCall
from ollama_adapter.ollama.requests import TextRequest
from ollama_adapter.ollama.times import Stamps
from ollama_adapter.v1.chat import ChatWriter, read_chat
from ollama_adapter.v1.completions import CompletionWriter, read_completion
from ollama_adapter.v1.messages_answer import MessagesWriter
from ollama_adapter.v1.responses_answer import ResponsesWriter
from ollama_adapter.vllm.answers import AnswerStream
from ollama_adapter.vllm.frames import Usage

HI = {"role": "user", "content": "hi"}
PNG = base64.b64encode(b"\x89PNG").decode()
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def chat(**fields: Any) -> TextRequest:
    return read_chat({"model": "m", "messages": [HI], **fields}).text


def message(**fields: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", **fields}]).messages[0]


def events(text: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in text.decode().split("\n") if line.startswith("data: {")]


# Requests


def test_what_a_chat_leaves_out_has_openais_defaults() -> None:
    request = chat()
    assert request.raw_options == {"temperature": 1.0, "top_p": 1.0}
    assert (request.stream, request.think, request.format, request.logprobs) == (False, None, None, False)


def test_sampling_fields_become_options() -> None:
    fields = {"temperature": 0, "top_p": 0.5, "seed": 3, "presence_penalty": 1, "frequency_penalty": 2}
    assert chat(**fields, max_tokens=9, stop=["a", 5]).raw_options == {**fields, "num_predict": 9, "stop": ["a"]}
    assert chat(stop="a").raw_options["stop"] == ["a"]
    assert chat(max_tokens=9, max_completion_tokens=4).raw_options["num_predict"] == 4
    assert "num_predict" not in chat(max_tokens=None).raw_options


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        ("none", False),
        ("minimal", "low"),
        ("low", "low"),
        ("high", "high"),
        ("xhigh", "max"),
        ("ultra", "max"),
        ("", None),
    ],
)
def test_an_effort_becomes_a_level_of_thinking(effort: str, think: Any) -> None:
    assert chat(reasoning_effort=effort).think == think
    assert chat(reasoning={"effort": effort}, reasoning_effort="medium").think == think


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": " JSON_Object "}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}, {"type": "object"}),
        ({"type": "json_schema"}, None),
        ({"type": "text"}, None),
    ],
)
def test_a_response_format_becomes_a_format(response_format: Any, expected: Any) -> None:
    assert chat(response_format=response_format).format == expected


def test_parts_of_a_message_stay_one_message() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    plain = {"type": "image_url", "image_url": f"data:;base64,{PNG}"}
    assert message(content=[*parts, image, plain]) == {"role": "user", "content": "a\n\nb", "images": [b"\x89PNG"] * 2}


def test_a_recording_travels_as_ollama_carries_it() -> None:
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"RIFF").decode(), "format": "wav"}}
    assert message(content=[part])["images"] == [b"RIFF"]


def test_calls_and_results_become_ollamas() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "hm"}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    messages = chat(messages=[called, result]).messages
    assert messages == [
        {
            "role": "assistant", "content": "", "thinking": "hm",
            "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1", "tool_name": "f"},
    ]  # fmt: skip


BAD_CALL = {**CALL, "function": {"name": "f", "arguments": "no"}}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"messages": []}, "[] is too short - 'messages'"),
        (
            {"messages": "hi"},
            "json: cannot unmarshal string into Go struct field ChatCompletionRequest.messages of type []openai.Message",
        ),
        (
            {"messages": [{"role": 5}]},
            "json: cannot unmarshal number into Go struct field ChatCompletionRequest.messages.role of type string",
        ),
        ({"messages": [{"role": "user"}]}, "invalid message content type: <nil>"),
        ({"messages": [None]}, "invalid message content type: <nil>"),
        ({"messages": [{"content": 5}]}, "invalid message content type: float64"),
        ({"messages": [{"content": True}]}, "invalid message content type: bool"),
        ({"messages": [{"content": {}}]}, "invalid message content type: map[string]interface {}"),
        ({"messages": [{"content": ["a"]}]}, "invalid message format"),
        ({"messages": [{"content": [{"type": "text"}]}]}, "invalid message format"),
        (
            {"messages": [{"content": [{"type": "image_url", "image_url": "data:image/gif;base64,"}]}]},
            "invalid image input",
        ),
        (
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
        ({"messages": [{"content": [{"type": "input_audio"}]}]}, "invalid input_audio format"),
        ({"messages": [{"content": "", "tool_calls": [BAD_CALL]}]}, "invalid tool call arguments"),
        (
            {"reasoning_effort": "huge"},
            'invalid reasoning value: "huge" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none")',
        ),
        (
            {"max_tokens": "5"},
            "json: cannot unmarshal string into Go struct field ChatCompletionRequest.max_tokens of type int",
        ),
        (
            {"temperature": "hot"},
            "json: cannot unmarshal string into Go struct field ChatCompletionRequest.temperature of type float64",
        ),
        (
            {"stream_options": []},
            "json: cannot unmarshal array into Go struct field ChatCompletionRequest.stream_options of type "
            "openai.StreamOptions",
        ),
    ],
)
def test_what_is_wrong_with_a_chat_is_said_in_gos_words(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadBody) as error:
        chat(**fields)
    assert str(error.value) == problem


def test_a_body_that_is_no_object_names_openais_type() -> None:
    with pytest.raises(
        BadBody, match=r"^json: cannot unmarshal array into Go value of type openai.ChatCompletionRequest$"
    ):
        read_chat([])


def test_a_completion_has_its_own_defaults_and_is_strict_about_stops() -> None:
    request = read_completion({"model": "m", "prompt": "p", "suffix": "s", "top_p": 0, "logprobs": 3}).text
    assert (request.kind, request.prompt, request.suffix) == ("generate", "p", "s")
    assert request.raw_options == {
        "temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
    }  # fmt: skip
    assert not request.logprobs
    with pytest.raises(BadBody, match=r"^invalid type for 'stop' field: float64$"):
        read_completion({"stop": ["a", 5]})
    with pytest.raises(BadBody, match=r"CompletionRequest.prompt of type string"):
        read_completion({"prompt": ["a"]})


# Answers


def writers() -> list[AnswerWriter]:
    return [
        ChatWriter("m", includes_usage=False),
        CompletionWriter("m", includes_usage=True),
        MessagesWriter("m", estimated_tokens=1),
        ResponsesWriter("m", {}),
    ]


def said(events_found: list[Any]) -> list[str]:
    """The texts that a stream adds, whatever its route."""
    texts = []
    for event in events_found:
        choice = event["choices"][0] if event.get("choices") else event
        delta = choice.get("delta", {})
        text = choice.get("text", "") if "choices" in event else ""
        if isinstance(delta, dict):
            text = delta.get("content") or delta.get("text") or text
        elif event["type"] == "response.output_text.delta":
            text = delta
        texts += [text] if text else []
    return texts


TEXTS = [" The", '"', "back\\slash", "<b>&", "caf\u00e9", "\u2028", "\n\n", "\U0001f600", "x"]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("start", range(len(TEXTS)))
def test_every_text_comes_out_as_it_went_in_on_every_route(number: int, start: int) -> None:
    texts = TEXTS[start:] + TEXTS[:start]
    stream = AnswerStream(TextRequest("chat", "m"), writers()[number], Stamps(), Timings())
    out = b"".join(stream.feed(chunk({"content": text})) for text in texts)
    out += stream.feed(chunk({}, "stop")) + stream.feed(b"[DONE]") + stream.last_line()
    assert said(events(out)) == texts


def chunk(delta: Any, finish: str | None = None) -> bytes:
    """A chunk byte for byte as vLLM 0.32.0 writes it."""
    ending = {"logprobs": None, "finish_reason": finish, **({"stop_reason": None} if finish else {}), "token_ids": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "llm"}
    whole = {**head, "choices": [{"index": 0, "delta": delta, **ending}]}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def test_only_the_first_chunk_has_a_role() -> None:
    writer = ChatWriter("m", includes_usage=False)
    found = events(
        writer.line(b"", "a") + writer.text(b"", b"b") + writer.line(b"", "c") + writer.end(b"", Ending("stop"))
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in found]
    assert deltas == [{"role": "assistant", "content": "a"}, {"content": "b"}, {"content": "c"}, {}]
    assert len({chunk["id"] for chunk in found}) == 1


def test_an_answer_without_a_word_still_opens_with_a_role() -> None:
    found = events(ChatWriter("m", includes_usage=False).end(b"", Ending("stop")))
    assert [chunk["choices"][0]["delta"] for chunk in found] == [{"role": "assistant", "content": ""}, {}]


def test_thinking_and_text_that_come_together_are_two_chunks() -> None:
    found = events(ChatWriter("m", includes_usage=False).line(b"", "b", thinking="a", logprobs=b"1"))
    assert [chunk["choices"][0]["delta"] for chunk in found] == [
        {"role": "assistant", "reasoning": "a"},
        {"content": "b"},
    ]
    assert ["logprobs" in chunk["choices"][0] for chunk in found] == [True, False]


def test_an_answer_that_was_cut_off_does_not_end_with_calls() -> None:
    calls = [ToolCall(0, "f", {})]
    whole = json.loads(ChatWriter("m", includes_usage=False).whole(b"", Ending("length"), calls=calls))
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_the_usage_comes_last_where_it_is_asked_for() -> None:
    ending = Ending("stop", usage=Usage(3, 4))
    found = events(ChatWriter("m", includes_usage=True).end(b"", ending))
    assert found[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert found[-1]["choices"] == []
    assert "usage" not in events(ChatWriter("m", includes_usage=False).end(b"", ending))[-1]
