"""OpenAI's routes for vLLM's models: names, faults, and what is passed on. Literal answers are in `test_recordings`."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from backports import zstd

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.ollama_stand_in import OllamaStandIn
from tests.contract.recorded import Answer
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn
from tests.contract.vllm_v1_stand_in import form_fields
from tests.contract.wire import Wire, get, post, request

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "llama2", "messages": HI}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "llama2", "prompt": "hi"},
    "/v1/responses": {"model": "llama2", "input": "hi"},
    "/v1/messages": {"model": "llama2", "max_tokens": 50, "messages": HI},
}
SAID = " The quick brown fox jumps over the lazy dog."


def events(body: str) -> list[dict[str, Any]]:
    """The JSON payloads of a stream."""
    lines = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def models_in(value: Any) -> set[str]:
    """Every `model` that an answer names, at any depth."""
    found: set[str] = set()
    if isinstance(value, dict):
        found = {value["model"]} if isinstance(value.get("model"), str) else set()
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found.union(*map(models_in, children))


def error_of(answer: Answer) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.body)["error"]
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["llama2", "LLAMA2:latest", "registry.ollama.ai/library/llama2"])
@pytest.mark.parametrize("path", REQUESTS)
def test_vllm_gets_its_own_name_and_the_client_its_own(
    adapter: AdapterProcess, vllm: VllmStandIn, path: str, name: str, stream: bool
) -> None:
    answer = post(
        adapter.port, path, {**REQUESTS[path], "model": name, "stream": stream}, "Authorization: Bearer x\r\n"
    )
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert models_in(events(answer.body) if stream else json.loads(answer.body)) == {name}
    sent = vllm.received[-1]
    assert sent.json["model"] == "llm"
    assert "authorization" not in sent.headers


def test_a_chat_asks_vllm_for_what_ollama_would_ask_its_model(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    post(adapter.port, "/v1/chat/completions", {**CHAT, "max_completion_tokens": 7, "stop": "x", "user": "u", "n": 2})
    sent = vllm.received[-1].json
    assert sent == {
        "model": "llm", "stream": False, "messages": HI, "temperature": 1.0, "top_p": 1.0, "max_tokens": 7, "stop": ["x"],
    }  # fmt: skip


def test_what_only_vllm_knows_is_passed_on_to_it(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    wishes = {"logit_bias": {"5": -1}, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": False}
    post(adapter.port, "/v1/chat/completions", {**CHAT, **wishes, "tool_choice": "auto"})
    sent = vllm.received[-1].json
    assert {name: sent.get(name) for name in wishes} == wishes
    assert "tool_choice" not in sent  # vLLM refuses it where there are no tools


@pytest.fixture(scope="module")
def tools_adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter in front of a model that calls tools."""
    with VllmStandIn("tools") as vllm:
        settings = {
            "url": vllm.url,
            "aliases": ["tool"],
            "capabilities": ["completion", "tools"],
            "context_length": 2048,
        }
        with AdapterProcess(tmp_path_factory.mktemp("tools"), vllm=settings) as adapter:
            yield adapter


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ("auto", "tool_calls"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "get_weather"}}, "tool_calls"),
        ("none", "stop"),
    ],
)
def test_a_tool_choice_is_vllms_to_honour(
    tools_adapter: AdapterProcess, choice: Any, finish: str, stream: bool
) -> None:
    body = {"model": "tool", "messages": HI, "tools": [TOOL], "tool_choice": choice, "stream": stream}
    answer = post(tools_adapter.port, "/v1/chat/completions", body)
    chunks = events(answer.body) if stream else [json.loads(answer.body)]
    choices = [chunk["choices"][0] for chunk in chunks]
    calls = [call for made in choices for call in made.get("delta", made.get("message")).get("tool_calls", ())]
    assert choices[-1]["finish_reason"] == finish
    assert [call["function"]["arguments"] for call in calls] == ([] if choice == "none" else ['{"city":"Paris"}'])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", REQUESTS)
def test_a_vllm_that_is_down_is_a_503_in_the_shape_of_the_route(start_adapter: Start, path: str, stream: bool) -> None:
    with VllmStandIn() as vllm:
        url = vllm.url
    adapter = start_adapter(vllm={"url": url})
    answer = post(adapter.port, path, {**REQUESTS[path], "stream": stream})
    assert answer.status_line == "HTTP/1.1 503 Service Unavailable"
    assert (answer.header("content-type"), answer.header("retry-after")) == (["application/json"], ["5"])
    assert error_of(answer)["type"] == ("overloaded_error" if path == "/v1/messages" else "api_error")
    assert "vLLM is starting or stopped, try again" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(cut_after=3), "vLLM closed the connection before the answer was complete"),
        (Behaviour(error_after=3), "EngineCore died"),
        (Behaviour(abort_after=3), "vLLM stopped before the answer was complete"),
    ],
)
@pytest.mark.parametrize("path", REQUESTS)
def test_a_stream_that_breaks_off_ends_in_an_error_event(
    adapter: AdapterProcess, vllm: VllmStandIn, behaviour: Behaviour, message: str, path: str
) -> None:
    vllm.behaviour = behaviour
    answer = post(adapter.port, path, {**REQUESTS[path], "stream": True})
    found = events(answer.body)
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert "[DONE]" not in answer.body
    last = found[-1]["response"] if path == "/v1/responses" else found[-1]
    assert message in last["error"]["message"]
    assert all("error" not in event for event in found[:-1])
    if path == "/v1/responses":
        assert (found[-1]["type"], last["status"]) == ("response.failed", "failed")
        assert [event["sequence_number"] for event in found] == list(range(len(found)))


@pytest.mark.parametrize("path", REQUESTS)
def test_a_client_that_leaves_ends_vllms_work(
    adapter: AdapterProcess, vllm: VllmStandIn, path: str, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    vllm.behaviour = Behaviour(repeat=100_000, delay_s=0.005)
    gone = vllm.gone
    with Wire(adapter.port) as wire:
        wire.send(request(path, {**REQUESTS[path], "max_tokens": 2000, "max_output_tokens": 2000, "stream": True}))
        wire.until(b"quick")
    eventually(lambda: vllm.gone > gone and vllm.running == 0)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_request_marks_the_model_as_loaded_and_its_tokens_are_logged(start_adapter: Start, path: str) -> None:
    adapter = start_adapter()
    assert json.loads(get(adapter.port, "/api/ps").body) == {"models": []}
    post(adapter.port, path, REQUESTS[path])
    entry = adapter.event("request")
    while entry["path"] != path:
        entry = adapter.event("request")
    assert (entry["prompt_tokens"], entry["output_tokens"], entry["model"]) == (5, 11, "llama2")
    assert [model["name"] for model in json.loads(get(adapter.port, "/api/ps").body)["models"]] == ["llama2:latest"]


def test_a_page_of_this_machine_may_call(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/v1/chat/completions", CHAT, "Origin: http://localhost:3000\r\n")
    assert answer.header("access-control-allow-origin") == ["http://localhost:3000"]
    refused = post(adapter.port, "/v1/chat/completions", CHAT, "Origin: http://evil.example\r\n")
    assert (refused.status_line[9:12], refused.body) == ("403", "")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 5}'])
@pytest.mark.parametrize("path", [*REQUESTS, "/v1/embeddings"])
def test_a_body_that_cannot_be_read_is_refused_in_the_shape_of_the_route(
    adapter: AdapterProcess, path: str, body: bytes
) -> None:
    answer = post(adapter.port, path, body)
    assert answer.status_line == "HTTP/1.1 400 Bad Request"
    assert answer.header("content-type") == ["application/json; charset=utf-8"]
    assert not answer.body.endswith("\n")
    assert error_of(answer)["type"] == "invalid_request_error"
    if not body:
        assert error_of(answer)["message"] == "EOF"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/chat/completions", {"messages": HI}, 400, "model is required"),
        ("/v1/chat/completions", {**CHAT, "model": "a b"}, 400, "invalid model name"),
        ("/v1/chat/completions", {**CHAT, "model": "nosuch"}, 404, "model 'nosuch' not found"),
        ("/v1/chat/completions", {**CHAT, "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ("/v1/chat/completions", {**CHAT, "reasoning_effort": "low"}, 400, '"llama2" does not support thinking'),
        ("/v1/completions", {"prompt": "hi"}, 404, "model '' not found"),
        ("/v1/responses", {"input": "hi"}, 400, "model is required"),
        ("/v1/responses", {"model": "nosuch", "input": "hi", "stream": True}, 404, "model 'nosuch' not found"),
        ("/v1/embeddings", {"model": "", "input": "hi"}, 404, "model '' not found"),
    ],
)
def test_what_ollamas_own_routes_refuse_is_refused_in_their_words(
    adapter: AdapterProcess, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = post(adapter.port, path, body)
    assert int(answer.status_line[9:12]) == status
    assert answer.header("content-type") == ["application/json"]
    assert answer.body.endswith("}\n")
    assert error_of(answer)["message"] == message


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_a_stream_of_events_has_the_headers_of_ollamas(adapter: AdapterProcess, path: str) -> None:
    body = {**REQUESTS[path], "stream": True}
    kept = post(adapter.port, path, body)
    assert (kept.header("cache-control"), kept.header("connection")) == (["no-cache"], ["keep-alive"])
    assert kept.chunks == kept.body.count("event: ")
    closed = post(adapter.port, path, body, "Connection: close\r\n")
    assert closed.header("connection") == ["close"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_prompt_loads_the_model(adapter: AdapterProcess, stream: bool) -> None:
    answer = post(adapter.port, "/v1/completions", {"model": "llama2", "prompt": "", "stream": stream})
    found = events(answer.body)[0] if stream else json.loads(answer.body)
    assert found["choices"] == [{"text": "", "index": 0, "finish_reason": "load"}]


def test_a_stream_of_completions_counts_at_its_end(adapter: AdapterProcess) -> None:
    body = {**REQUESTS["/v1/completions"], "stream": True, "stream_options": {"include_usage": True}}
    answer = post(adapter.port, "/v1/completions", body)
    found = events(answer.body)
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert "".join(chunk["choices"][0]["text"] for chunk in found[:-1]) == SAID
    assert all(chunk["usage"] == zeros for chunk in found[:-1])
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 11, "total_tokens": 16}
    assert (found[-1]["choices"], answer.body[-16:]) == ([], "\n\ndata: [DONE]\n\n")


# Models


def test_the_models_of_both_servers_are_listed(adapter: AdapterProcess) -> None:
    answer = json.loads(get(adapter.port, "/v1/models").body)
    assert answer["object"] == "list"
    listed = {model["id"]: model for model in answer["data"]}
    assert set(listed) == {"llama2:7b", "llama2:latest", "llama3.2:latest", "llava:7b"}
    assert {(model["object"], model["owned_by"]) for model in listed.values()} == {("model", "library")}
    assert all(model["created"] > 1_600_000_000 for model in listed.values())


def test_a_model_is_found_by_any_form_of_its_name(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    assert json.loads(get(adapter.port, "/v1/models/LLAMA2").body)["id"] == "LLAMA2"
    vision.whole = b'{"id":"llava:7b"}'
    assert get(adapter.port, "/v1/models/llava:7b").body == '{"id":"llava:7b"}'
    assert vision.received[-1].path == "/v1/models/llava:7b"
    answer = get(adapter.port, "/v1/models/nosuch")
    assert (answer.status_line[9:12], error_of(answer)["message"]) == ("404", "model 'nosuch:latest' not found")


def test_a_model_of_ollama_vision_is_passed_on(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    vision.whole = b"{}"
    body = {**CHAT, "model": "llava:7b"}
    assert post(adapter.port, "/v1/chat/completions", body).body == "{}"
    assert (vision.received[-1].path, vision.received[-1].json) == ("/v1/chat/completions", body)


# Embeddings


@pytest.fixture(scope="module")
def embed_adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter in front of a model that embeds."""
    with VllmStandIn("embed") as vllm:
        settings = {"url": vllm.url, "aliases": ["embed"], "capabilities": ["embedding"], "context_length": 2048}
        with AdapterProcess(tmp_path_factory.mktemp("embed"), vllm=settings) as adapter:
            yield adapter


def test_vectors_are_the_same_as_numbers_and_as_base64(embed_adapter: AdapterProcess) -> None:
    body = {"model": "embed", "input": ["hello", ""], "dimensions": 8}
    numbers = json.loads(post(embed_adapter.port, "/v1/embeddings", body).body)
    encoded = json.loads(post(embed_adapter.port, "/v1/embeddings", {**body, "encoding_format": "base64"}).body)
    assert [entry["index"] for entry in numbers["data"]] == [0, 1]
    assert numbers["usage"] == encoded["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    for one, other in zip(numbers["data"], encoded["data"], strict=True):
        vector = array("f")
        vector.frombytes(base64.b64decode(other["embedding"]))
        assert array("f", one["embedding"]) == vector
        assert sum(value * value for value in vector) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({}, 400, "invalid input"),
        ({"input": []}, 400, "invalid input"),
        ({"input": [1, 2]}, 400, "invalid input type"),
        ({"input": 5}, 400, "invalid input type"),
        (
            {"input": "x", "encoding_format": "int8"},
            400,
            "Invalid value for 'encoding_format' = int8. Supported values: ['float', 'base64'].",
        ),
    ],
)
def test_an_input_that_ollama_refuses_is_refused(
    embed_adapter: AdapterProcess, more: dict[str, Any], status: int, message: str
) -> None:
    answer = post(embed_adapter.port, "/v1/embeddings", {"model": "embed", **more})
    assert (int(answer.status_line[9:12]), error_of(answer)["message"]) == (status, message)


def test_a_model_that_only_embeds_does_not_chat(embed_adapter: AdapterProcess) -> None:
    answer = post(embed_adapter.port, "/v1/chat/completions", {**CHAT, "model": "embed"})
    assert (answer.status_line[9:12], error_of(answer)["message"]) == ("400", '"embed" does not support chat')


# Recordings and decisions


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\nen\r\n'
    b'--b\r\nContent-Disposition: form-data; name="response_format"\r\n\r\n%b\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n%b\r\n--b--\r\n'
)
FORM_TYPE = "Content-Type: multipart/form-data; boundary=b\r\n"


def test_a_model_without_ears_says_what_ollama_says(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/v1/audio/transcriptions", FORM % (b"llama2", b"json", b"RIFF"), FORM_TYPE)
    assert answer.status_line == "HTTP/1.1 400 Bad Request"
    assert "model does not support multimodal requests" in error_of(answer)["message"]
    unknown = post(adapter.port, "/v1/audio/transcriptions", FORM % (b"nosuch", b"json", b"RIFF"), FORM_TYPE)
    assert (unknown.status_line[9:12], error_of(unknown)["message"]) == ("404", "model 'nosuch' not found")


def test_a_recording_goes_to_a_model_that_hears(start_adapter: Start, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(hears="Hello world.")
    adapter = start_adapter(vllm={"aliases": ["ear"], "capabilities": ["completion", "audio"]})
    recording = b"RIFF\x00\r\n--not the boundary\xff\xfe"
    answer = post(adapter.port, "/v1/audio/transcriptions", FORM % (b"EAR", b"json", recording), FORM_TYPE)
    assert answer.body == '{"text":"Hello world."}\n'
    sent = form_fields(vllm.received[-1].headers, vllm.received[-1].body)
    assert sent["file"].encode("latin-1") == recording
    assert {name: sent[name] for name in ("model", "language", "response_format")} == {
        "model": "llm", "language": "en", "response_format": "json",
    }  # fmt: skip
    plain = post(adapter.port, "/v1/audio/transcriptions", FORM % (b"ear", b"text", recording), FORM_TYPE)
    assert (plain.header("content-type"), plain.body) == (["text/plain"], "Hello world.")


DECISION = {"model": "llama2", "state": "s", "questions": {"q": {"type": "choice", "criteria": ["a"]}}, "keep_alive": 5}


def test_a_decision_is_vllms_with_the_clients_name(adapter: AdapterProcess, vllm: VllmStandIn) -> None:
    vllm.behaviour = Behaviour(decides={"q": {"type": "choice", "choice": "a"}})
    answer = json.loads(post(adapter.port, "/v1/systemone", DECISION).body)
    assert answer == {
        "model": "llama2",
        "answers": {"q": {"type": "choice", "choice": "a"}},
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    assert vllm.received[-1].json.keys() == {"model", "state", "questions"}


def test_a_model_that_takes_no_decisions_says_so(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/v1/systemone", DECISION)
    assert answer.status_line[9:12] == "501"
    assert error_of(answer)["message"] == "The model does not support the structured decision API"


def test_tokens_are_not_counted_on_a_route_of_its_own(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/v1/messages/count_tokens", REQUESTS["/v1/messages"])
    assert (answer.status_line, answer.body) == ("HTTP/1.1 404 Not Found", "404 page not found")


def test_a_body_compressed_with_zstd_is_read_where_ollama_reads_it(adapter: AdapterProcess) -> None:
    body = json.dumps(REQUESTS["/v1/responses"]).encode()
    answer = post(adapter.port, "/v1/responses", zstd.compress(body), "Content-Encoding: zstd\r\n")
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert json.loads(answer.body)["output"][0]["content"][0]["text"] == SAID
    for path, data, text in (
        ("/v1/responses", body, "invalid zstd body"),
        ("/v1/responses", zstd.compress(body)[:-3], "unexpected EOF"),
        ("/v1/responses", zstd.compress(b" " * (21 << 20) + body), "http: request body too large"),
        ("/v1/chat/completions", zstd.compress(body), "invalid character"),
    ):
        refused = post(adapter.port, path, data, "Content-Encoding: zstd\r\n")
        assert refused.status_line == "HTTP/1.1 400 Bad Request"
        assert text in error_of(refused)["message"]
