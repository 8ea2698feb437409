from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from ollama_adapter.go.decode import Reading, from_base64
from ollama_adapter.go.json import BadBody, decode
from ollama_adapter.ollama.options import BadOption
from ollama_adapter.ollama.requests import BadFormat, Kind, TextRequest, model_of, read_text_request

STRICT = Reading(string_arguments=False, data_uri_images=False, content_parts=False)
LENIENT = Reading(string_arguments=True, data_uri_images=True, content_parts=True)
NOT, INTO = "json: cannot unmarshal", "into Go struct field"


def read(kind: Kind, body: Any, reading: Reading = STRICT, *, top_level: bool = False) -> TextRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_text_request(kind, decode(data), data, reading, top_level=top_level)


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("generate", [], "json: cannot unmarshal array into Go value of type api.GenerateRequest"),
        ("chat", [], "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        ("generate", "x", "json: cannot unmarshal string into Go value of type api.GenerateRequest"),
        ("generate", {"model": 5}, f"{NOT} number {INTO} GenerateRequest.model of type string"),
        ("generate", {"stream": "yes"}, f"{NOT} string {INTO} GenerateRequest.stream of type bool"),
        ("generate", {"context": "a"}, f"{NOT} string {INTO} GenerateRequest.context of type []int"),
        ("generate", {"context": ["a"]}, f"{NOT} string {INTO} GenerateRequest.context of type int"),
        ("generate", {"images": "x"},
         f"{NOT} string {INTO} GenerateRequest.images of type []api.ImageData"),
        ("generate", {"options": []},
         f"{NOT} array {INTO} GenerateRequest.options of type map[string]interface {{}}"),
        ("generate", {"raw": 1}, f"{NOT} number {INTO} GenerateRequest.raw of type bool"),
        ("generate", {"top_logprobs": 1.5},
         f"{NOT} number 1.5 {INTO} GenerateRequest.top_logprobs of type int"),
        ("generate", {"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ("generate", {"images": ["data:image/png;base64,AAAA"]}, "illegal base64 data at input byte 4"),
        ("generate", {"images": ["@@@"]}, "illegal base64 data at input byte 0"),
        ("chat", {"messages": "hi"}, f"{NOT} string {INTO} ChatRequest.messages of type []api.Message"),
        ("chat", {"messages": ["hi"]}, f"{NOT} string {INTO} ChatRequest.messages of type api.Alias"),
        ("chat", {"messages": [{"content": [{"type": "text"}]}]},
         f"{NOT} array {INTO} ChatRequest.messages.content of type string"),
        ("chat", {"tools": {}}, f"{NOT} object {INTO} ChatRequest.tools of type api.Tools"),
        ("chat", {"messages": [{"tool_calls": [{"function": {"arguments": "{}"}}]}]},
         "Value looks like object, but can't find closing '}' symbol"),
        ("chat", {"think": "huge"},
         'invalid think value: "huge" (must be "high", "medium", "low", "max", true, or false)'),
        ("chat", {"think": 1}, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ("chat", {"keep_alive": "5x"}, 'time: unknown unit "x" in duration "5x"'),
        ("chat", {"keep_alive": True}, "Unsupported type: 'bool'"),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_refused_in_gos_words(kind: Kind, body: Any, message: str) -> None:
    with pytest.raises(BadBody) as caught:
        read(kind, body)
    assert str(caught.value) == message


def test_the_first_wrong_field_of_the_body_is_the_one_reported() -> None:
    with pytest.raises(BadBody, match=r"GenerateRequest\.raw"):
        read("generate", b'{"raw": 1, "model": 2}')


def test_field_names_match_in_any_case_and_nulls_are_absent() -> None:
    request = read("generate", {"MODEL": "m", "Prompt": "p", "Stream": None, "frobnicate": 1})
    assert (request.model, request.prompt, request.stream) == ("m", "p", True)


def test_a_null_body_is_an_empty_request() -> None:
    assert read("chat", b"null") == TextRequest("chat")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (1.5, 1.5), (0, 0.0), ("0", 0.0), ("10m", 600.0), (-1, math.inf), ("-1m", math.inf), (None, None)],
)
def test_keep_alive_is_seconds_or_a_duration(value: Any, seconds: float | None) -> None:
    assert read("generate", {"keep_alive": value}).keep_alive_s == seconds


def test_a_request_without_prompt_or_messages_is_for_loading() -> None:
    assert read("generate", {"model": "m"}).is_empty
    assert read("chat", {"model": "m", "messages": []}).is_empty
    assert not read("generate", {"prompt": "x"}).is_empty


def test_roles_are_lower_case() -> None:
    assert read("chat", {"messages": [{"role": "User", "content": "x"}, {}]}).messages == [
        {"role": "user", "content": "x"}, {"role": ""},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("format_", "wanted"),
    [
        (None, None),
        ("", None),
        ("json", {"type": "json_object"}),
        ({"type": "object"}, {"type": "json_schema", "json_schema": {"name": "format", "schema": {"type": "object"}}}),
    ],
)
def test_a_format_becomes_a_response_format(format_: Any, wanted: Any) -> None:
    assert read("chat", {"format": format_}).response_format() == wanted


@pytest.mark.parametrize(("raw", "shown"), [('"xml"', r'"\"xml\""'), ("[1,  2]", '"[1,  2]"'), ("true", '"true"')])
def test_another_format_is_refused_as_the_client_wrote_it(raw: str, shown: str) -> None:
    with pytest.raises(BadFormat) as caught:
        read("chat", f'{{"FORMAT": {raw}}}'.encode()).response_format()
    assert str(caught.value) == f'invalid format: {shown}; expected "json" or a valid JSON Schema object'


def test_options_beside_options_count_where_options_is_silent() -> None:
    body = {
        "temperature": 0.1,
        "num_predict": 7,
        "top_k": "many",
        "stop": "x",
        "options": {"temperature": 0.9, "seed": 3},
    }
    request = read("generate", body, LENIENT, top_level=True)
    request.check_options()
    assert request.options == {"temperature": 0.9, "num_predict": 7, "stop": ["x"], "seed": 3}


def test_options_beside_options_are_ignored_where_the_operator_says_so() -> None:
    request = read("generate", {"temperature": 0.1})
    request.check_options()
    assert request.options == {}


def test_a_wrong_option_is_found_when_options_are_checked_not_before() -> None:
    request = read("generate", {"options": {"num_predict": "five"}})
    with pytest.raises(BadOption, match='option "num_predict" must be of type integer'):
        request.check_options()


def test_leniency_takes_what_openai_clients_send() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"messages": [{"role": "assistant", "content": parts, "tool_calls": [call]}]}
    message = read("chat", body, LENIENT).messages[0]
    assert message["content"] == "ab"
    assert message["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    uri = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    assert read("generate", {"images": [uri]}, LENIENT).images == [b"picture"]


def test_leniency_does_not_swallow_parts_it_cannot_pass_on() -> None:
    with pytest.raises(BadBody, match=r"messages\.content"):
        read("chat", {"messages": [{"content": [{"type": "image_url"}]}]}, LENIENT)


@pytest.mark.parametrize(("text", "data"), [("", b""), ("cGljdHVyZQ==", b"picture"), ("cGlj\r\ndHVyZQ==", b"picture")])
def test_base64_is_decoded(text: str, data: bytes) -> None:
    assert from_base64(text) == data


@pytest.mark.parametrize(("text", "position"), [("cGl", 0), ("cGljdA", 4), ("cGlj!HVyZQ==", 4), ("\u00e9", 0)])
def test_broken_base64_is_refused_with_the_place(text: str, position: int) -> None:
    with pytest.raises(BadBody, match=f"illegal base64 data at input byte {position}$"):
        from_base64(text)


@pytest.mark.parametrize(
    ("body", "keys", "name"),
    [
        ({"model": "a"}, ("model", "name"), "a"),
        ({"name": "a"}, ("model", "name"), "a"),
        ({"name": "a", "model": "b"}, ("model", "name"), "b"),
        ({"MODEL": "a", "Model": "b"}, ("model",), "b"),
        ({"model": ""}, ("model",), None),
        ({"model": 5}, ("model",), None),
        ([], ("model",), None),
        (None, ("model",), None),
    ],
)
def test_the_model_of_a_body_is_found(body: Any, keys: tuple[str, ...], name: str | None) -> None:
    assert model_of(body, *keys) == name
