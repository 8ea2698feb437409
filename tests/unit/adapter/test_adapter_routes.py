from __future__ import annotations

import pytest

from ollama_adapter.http.guards import Origins, allows_host, is_loopback, is_same_origin
from ollama_adapter.models.requests import unknown_model
from ollama_adapter.ollama.passing import peek_model
from ollama_adapter.ollama.routes import Fallback, Found, find


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "/", "root"),
        ("HEAD", "/", "root"),
        ("GET", "/health", "health"),
        ("GET", "/ready", "ready"),
        ("HEAD", "/api/tags", "tags"),
        ("GET", "/api/ps", "ps"),
        ("POST", "/api/chat", "chat"),
        ("DELETE", "/api/delete", "delete"),
        ("POST", "/api/me", "me"),
        ("POST", "/api/signout", "sign_out"),
        ("POST", "/api/experimental/web_search", "web_search"),
        ("POST", "/api/experimental/web_fetch", "web_fetch"),
        ("GET", "/api/experimental/model-recommendations", "recommendations"),
        ("GET", "/api/status", "status"),
        ("GET", "/v1/models", "v1_models"),
    ],
)
def test_a_route_is_found(method: str, path: str, action: str) -> None:
    assert find(method, path) == Found(action, path)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("HEAD", "/api/blobs/sha256:ab", Found("blob", "/api/blobs/", "sha256:ab")),
        ("POST", "/api/blobs/sha256:ab", Found("upload", "/api/blobs/", "sha256:ab")),
        ("DELETE", "/api/user/keys/c3No", Found("sign_out", "/api/user/keys/", "c3No")),
        ("GET", "/v1/models/llama2", Found("v1_model", "/v1/models/", "llama2")),
    ],
)
def test_a_route_with_a_parameter_is_found(method: str, path: str, found: Found) -> None:
    assert find(method, path) == found


@pytest.mark.parametrize("path", ["/api/blobs/", "/api/blobs/a/b", "/api/user/keys/", "/api/blobs"])
def test_a_parameter_is_one_segment_that_is_not_empty(path: str) -> None:
    found = find("POST", path)
    assert isinstance(found, Fallback)
    assert found.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "header"),
    [
        ("GET", "/nope", 404, ()),
        ("GET", "/API/TAGS", 404, ()),
        ("GET", "/api/chat", 405, ((b"Allow", b"POST"),)),
        ("POST", "/api/tags", 405, ((b"Allow", b"HEAD, GET"),)),
        ("HEAD", "/api/ps", 405, ((b"Allow", b"GET"),)),
        ("GET", "/api/blobs/sha256:ab", 405, ((b"Allow", b"HEAD, POST"),)),
        ("GET", "/api/me", 405, ((b"Allow", b"POST"),)),
        ("POST", "/api/experimental/model-recommendations", 405, ((b"Allow", b"GET"),)),
        ("GET", "/api/tags/", 301, ((b"Location", b"/api/tags"),)),
        ("POST", "/api/chat/", 307, ((b"Location", b"/api/chat"),)),
        ("GET", "//api/tags", 307, ((b"Location", b"/api/tags"),)),
        ("GET", "/api/../api/tags", 307, ((b"Location", b"/api/tags"),)),
        ("GET", "/nope/", 404, ()),
        ("GET", "*", 404, ()),
    ],
)
def test_what_is_no_route_falls_back_as_in_ollama(method: str, path: str, status: int, header: object) -> None:
    found = find(method, path)
    assert isinstance(found, Fallback)
    assert (found.status, found.headers) == (status, header)


def test_a_redirect_never_leaves_this_server() -> None:
    for path in ("//evil.example/api", "//evil.example//", "/\\evil//"):
        found = find("GET", path)
        assert isinstance(found, Fallback)
        assert not dict(found.headers)[b"Location"].startswith(b"//")


@pytest.mark.parametrize(
    ("action", "name", "expected"),
    [
        ("generate", "", (404, "model '' not found")),
        ("chat", "", (400, "model is required")),
        ("embed", "", (404, "model '' not found")),
        ("show", "", (400, "model is required")),
        ("create", "", (400, "invalid model name")),
        ("copy", "", (400, 'source "" is invalid')),
        ("chat", "a b!", (400, "invalid model name")),
        ("delete", "a b!", (400, 'name "a b!" is invalid')),
        ("generate", "X", (404, "model 'X' not found")),
        ("embed", "X", (404, 'model "X" not found, try pulling it first')),
        ("embeddings", "X", (404, 'model "X" not found, try pulling it first')),
        ("show", "X", (404, "model 'X:latest' not found")),
        ("copy", "X", (404, 'model "X" not found')),
    ],
)
def test_an_unknown_model_has_the_answer_of_its_route(action: str, name: str, expected: tuple[int, str]) -> None:
    assert unknown_model(action, name) == expected


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:3000", True),
        ("http://127.0.0.1:1", True),
        ("http://0.0.0.0", True),
        ("app://obsidian.md", True),
        ("vscode-webview://abc", True),
        ("https://ui.example", True),
        ("https://a.corp", True),
        ("https://evil.example", False),
        ("null", False),
        ("http://localhost.evil.example", False),
        ("http://x:y:z", False),
        ("https://ui.example.evil", False),
        ("http://localhost/x", False),
    ],
)
def test_browsers_of_the_defaults_and_of_the_settings_are_let_in(origin: str, allowed: bool) -> None:
    assert Origins(["https://ui.example", "https://*.corp"]).allows(origin) is allowed


def test_a_star_lets_every_browser_in() -> None:
    origins = Origins(["*"])
    assert origins.allows("https://evil.example")
    assert origins.answer_headers("https://x") == [(b"Access-Control-Allow-Origin", b"*")]


def test_a_page_of_this_server_is_no_foreign_page() -> None:
    assert is_same_origin("http://gpu-01:11434", "gpu-01:11434")
    assert not is_same_origin("http://gpu-01", "gpu-01:11434")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("", True),
        ("localhost:1", True),
        ("a.localhost", True),
        ("box.local", True),
        ("x.internal", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("192.168.1.5", True),
        ("8.8.8.8", False),
        ("evil.example:11434", False),
    ],
)
def test_on_loopback_only_local_names_are_answered(host: str, allowed: bool) -> None:
    assert allows_host(host) is allowed


def test_loopback_is_known_by_its_address() -> None:
    assert [is_loopback(address) for address in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "gpu-01")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b'{"model":"llava:7b","prompt":"x","images":["AAAA', "llava:7b"),
        (b' { "stream" : false, "keep_alive": "5m", "n": -1.5e3, "Model" : "llava:7b"', "llava:7b"),
        (b'{"prompt":"say \\"model\\": \\"x\\"","model":"llava"', "llava"),
        (b'{"images":["AAAA"],"model":"llava"', None),
        (b'{"options":{"model":"x"},"model":"llava"', None),
        (b'{"model":"lla', None),
        (b'{"model":5', None),
        (b'[{"model":"x"}]', None),
        (b"", None),
    ],
)
def test_the_model_is_seen_at_the_beginning_of_a_body(start: bytes, name: str | None) -> None:
    assert peek_model(start) == name


def test_looking_for_the_model_takes_no_longer_than_the_body_is_long() -> None:
    assert peek_model(b'{"a":"' + b"\\\\" * 500_000) is None
    assert peek_model(b"{" + b'"a":"b",' * 100_000) is None
