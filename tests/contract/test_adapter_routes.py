"""Routes that have little to do in front of vLLM: they answer as Ollama does where that is true, and say why where not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.recorded import Answer
from tests.contract.wire import Wire, ask, get, post, request

UNKNOWN = "/usr/share/ollama/.ollama/models/manifests"
DATA = b"GGUF" + b"\x00" * 1000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def status(answer: Answer) -> int:
    return int(answer.status_line.split(" ")[1])


def error(answer: Answer) -> tuple[int, str]:
    return status(answer), json.loads(answer.body)["error"]


def head(adapter: AdapterProcess, path: str) -> Answer:
    return ask(adapter.port, f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(), "HEAD")


def upload(adapter: AdapterProcess, digest: str, data: bytes) -> Answer:
    return post(adapter.port, f"/api/blobs/{digest}", data)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/api/me", {}, (503, "account unavailable")),
        ("/api/signout", b"", (401, "you are not currently signed in")),
        ("/api/experimental/web_search", {"query": "x"}, (403, "ollama cloud is disabled: web search is unavailable")),
        ("/api/experimental/web_fetch", {"url": "x"}, (403, "ollama cloud is disabled: web fetch is unavailable")),
        ("/api/experimental/web_search", b"", (400, "missing request body")),
    ],
)
def test_the_cloud_is_switched_off_and_nobody_is_signed_in(
    adapter: AdapterProcess, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert error(post(adapter.port, path, body)) == expected


def test_a_key_of_an_account_cannot_be_deleted(adapter: AdapterProcess) -> None:
    answer = ask(adapter.port, request("/api/user/keys/c3NoLWVk", b"", method="DELETE"))
    assert error(answer) == (401, "you are not currently signed in")


def test_recommended_is_what_is_served(adapter: AdapterProcess) -> None:
    answer = get(adapter.port, "/api/experimental/model-recommendations")
    assert answer.header("content-type") == ["application/json; charset=utf-8"]
    found = json.loads(answer.body)["recommendations"]
    assert [entry["model"] for entry in found] == ["llama2:7b", "llama2:latest", "llama3.2:latest"]
    assert {entry["context_length"] for entry in found} == {2048}
    assert all(entry["description"] for entry in found)


@pytest.mark.parametrize("digest", ["nonsense", "sha256:ab", f"md5:{'0' * 64}", f"sha256:{'g' * 64}"])
def test_a_digest_of_another_form_is_refused(adapter: AdapterProcess, digest: str) -> None:
    assert status(head(adapter, f"/api/blobs/{digest}")) == 400
    assert error(upload(adapter, digest, b"x")) == (400, "invalid digest format")


def test_no_weights_are_there(adapter: AdapterProcess) -> None:
    answer = head(adapter, f"/api/blobs/{DIGEST}")
    assert (status(answer), answer.header("content-length")) == (404, ["102"])


def test_an_upload_is_checked_and_then_refused_with_the_reason(adapter: AdapterProcess) -> None:
    code, message = error(upload(adapter, DIGEST, DATA))
    assert code == 501
    assert "vLLM serves the models" in message
    assert '/api/create and "from"' in message
    other = hashlib.sha256(b"other").hexdigest()
    assert error(upload(adapter, DIGEST, b"other")) == (
        400, f'digest mismatch, expected "{DIGEST}", got "sha256:{other}"',
    )  # fmt: skip
    assert status(head(adapter, f"/api/blobs/{DIGEST}")) == 404


def test_an_upload_without_a_body_is_checked_too(adapter: AdapterProcess) -> None:
    assert error(upload(adapter, DIGEST, b""))[0] == 400


def test_a_large_upload_is_refused_before_it_is_sent(start_adapter: Start) -> None:
    adapter = start_adapter(server={"max_body_bytes": 100_000})
    with Wire(adapter.port) as wire:
        wire.send(f"POST /api/blobs/{DIGEST} HTTP/1.1\r\nHost: x.local\r\nContent-Length: 40000000000\r\n\r\n".encode())
        assert error(wire.answer("POST"))[0] == 501
        assert wire.is_closed()


def test_an_upload_of_unknown_length_is_cut_at_the_limit_and_not_kept(start_adapter: Start) -> None:
    adapter = start_adapter(server={"max_body_bytes": 20_000_000})
    memory = adapter.memory_bytes()
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with Wire(adapter.port) as wire:
        path = f"POST /api/blobs/{DIGEST} HTTP/1.1\r\nHost: x.local\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.send(path.encode() + chunk * 300)
        assert get(adapter.port, "/api/version").status_line == "HTTP/1.1 200 OK"
        assert adapter.memory_bytes() - memory < 10_000_000
        wire.send(chunk * 6)
        assert error(wire.answer("POST"))[0] == 501


def test_the_layers_of_a_virtual_model_are_blobs(adapter: AdapterProcess) -> None:
    text = "a system text of this test alone"
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert status(head(adapter, f"/api/blobs/{digest}")) == 404
    made = {"model": "layered", "from": "llama2", "system": text, "stream": False}
    assert status(post(adapter.port, "/api/create", made)) == 200
    assert status(head(adapter, f"/api/blobs/{digest}")) == 200
    assert status(upload(adapter, digest, text.encode())) == 200
    ask(adapter.port, request("/api/delete", {"model": "layered"}, method="DELETE"))
    assert status(head(adapter, f"/api/blobs/{digest}")) == 404


def test_a_pull_of_a_served_model_runs_to_success(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/api/pull", {"model": "llama2"})
    assert [json.loads(line)["status"] for line in answer.body.splitlines()] == [
        "pulling manifest",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert answer.chunks == 4
    assert post(adapter.port, "/api/pull", {"name": "llama2", "stream": False}).body == '{"status":"success"}'


def test_a_pull_of_another_one_ends_in_ollamas_error(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/api/pull", {"model": "nosuch"})
    assert answer.body == '{"status":"pulling manifest"}\n{"error":"pull model manifest: file does not exist"}\n'
    assert error(post(adapter.port, "/api/pull", {"model": "nosuch", "stream": False})) == (
        500, "pull model manifest: file does not exist",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nosuch", "registry.ollama.ai/library/nosuch/latest"),
        ("me/nosuch:v1", "registry.ollama.ai/me/nosuch/v1"),
        ("a b!", "registry.ollama.ai/library/a b!/latest"),
    ],
)
def test_a_push_of_an_unknown_model_ends_in_ollamas_error(adapter: AdapterProcess, name: str, path: str) -> None:
    message = f"open {UNKNOWN}/{path}: no such file or directory"
    assert error(post(adapter.port, "/api/push", {"model": name, "stream": False})) == (500, message)
    streamed = post(adapter.port, "/api/push", {"model": name})
    assert [json.loads(line) for line in streamed.body.splitlines()] == [
        {"status": "retrieving manifest"},
        {"status": "couldn't retrieve manifest"},
        {"error": message},
    ]


def test_a_push_of_a_served_model_says_that_there_is_nothing_to_push(adapter: AdapterProcess) -> None:
    message = '"llama2" is served by vLLM: there is nothing to push to a registry of Ollama'
    assert error(post(adapter.port, "/api/push", {"model": "llama2", "stream": False})) == (501, message)
    streamed = post(adapter.port, "/api/push", {"model": "llama2"})
    assert [*map(json.loads, streamed.body.splitlines())] == [{"status": "retrieving manifest"}, {"error": message}]
    assert error(post(adapter.port, "/api/push", {})) == (400, "model is required")
