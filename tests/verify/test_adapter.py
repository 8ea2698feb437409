"""The adapter on 11434: what an Ollama client asks for, answered from vLLM, and from Ollama Vision by the model's name."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from roles.layout import ADAPTER_STATE, ollama_version
from roles.model_names import canonical
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.web import Endpoint

pytestmark = pytest.mark.phase(2)

GENERATE = {"prompt": "Hello", "options": {"num_predict": 4}}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "options": {"num_predict": 4}}
METRICS = ("total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")


def expect_an_end(frame: dict[str, Any], about: str, expect: Expect) -> None:
    """The last or only frame says that it is the last, why, and what it cost."""
    __tracebackhide__ = True
    seen = {key: frame.get(key, 0) > 0 for key in METRICS}
    expect(about, {"done": True} | dict.fromkeys(METRICS, True), {"done": frame.get("done")} | seen)
    expect(about, {"done_reason": True}, {"done_reason": frame.get("done_reason") in ("stop", "length")})


def test_the_adapter_greets_as_ollama_does(adapter: Endpoint) -> None:
    answer = adapter.get("/")
    assert (answer.status, answer.body) == (200, "Ollama is running"), answer.said
    answer = adapter.head("/")
    assert (answer.status, answer.body) == (200, ""), answer.said


def test_the_adapter_is_ready(adapter: Endpoint) -> None:
    for path in ("/health", "/ready"):
        answer = adapter.get(path)
        assert answer.status == 200, answer.said


def test_the_adapter_tells_the_version_of_the_ollama_it_stands_for(
    adapter: Endpoint, site: Site, expect: Expect
) -> None:
    expect("GET /api/version", {"version": ollama_version(site)}, adapter.get("/api/version").json())


def test_the_adapter_lists_every_alias_and_every_vision_model(adapter: Endpoint, site: Site, expect: Expect) -> None:
    wanted = sorted({canonical(name) for name in (*site.vllm.aliases, *site.vision_models)})
    seen = sorted(model["name"] for model in adapter.get("/api/tags").json()["models"])
    expect("GET /api/tags of the adapter", {"models": wanted}, {"models": [canonical(name) for name in seen]})


def test_the_adapter_gives_every_model_a_digest(adapter: Endpoint, site: Site) -> None:
    answer = adapter.get("/api/tags")
    models = answer.json()["models"]
    wrong = [model["name"] for model in models if not re.fullmatch("[0-9a-f]{64}", model.get("digest", ""))]
    assert models and not wrong, f"{answer.said}\n  expected digests of 64 hexadecimal digits, not so: {wrong}"


def test_the_adapter_shows_every_alias(adapter: Endpoint, site: Site, expect: Expect) -> None:
    for alias in site.vllm.aliases:
        shown = adapter.post("/api/show", {"model": alias}).json()
        lengths = [value for key, value in shown["model_info"].items() if key.endswith(".context_length")]
        seen = {"completion": "completion" in shown["capabilities"], "context_length": lengths}
        expect(f"POST /api/show {alias}", {"completion": True, "context_length": [site.vllm.max_model_len]}, seen)


@pytest.mark.full
def test_every_alias_generates_in_one_answer(adapter: Endpoint, site: Site, expect: Expect) -> None:
    for alias in site.vllm.aliases:
        answer = adapter.post("/api/generate", {"model": alias, "stream": False, **GENERATE})
        expect("POST /api/generate", {"model": alias}, answer.json())
        expect_an_end(answer.json(), f"POST /api/generate {alias}", expect)
        assert answer.json()["response"], answer.said


@pytest.mark.full
def test_the_adapter_streams_generated_text(adapter: Endpoint, site: Site, expect: Expect) -> None:
    answer = adapter.post("/api/generate", {"model": site.vllm.aliases[0], **GENERATE})
    *parts, last = answer.frames()
    assert "".join(frame["response"] for frame in parts), answer.said
    assert not any(frame["done"] for frame in parts), answer.said
    expect_an_end(last, "last frame of POST /api/generate", expect)


@pytest.mark.full
def test_the_adapter_chats_in_one_answer(adapter: Endpoint, site: Site, expect: Expect) -> None:
    answer = adapter.post("/api/chat", {"model": site.vllm.aliases[0], "stream": False, **CHAT})
    message = answer.json()["message"]
    assert message["role"] == "assistant" and message["content"], answer.said
    expect_an_end(answer.json(), "POST /api/chat", expect)


@pytest.mark.full
def test_the_adapter_streams_a_chat(adapter: Endpoint, site: Site, expect: Expect) -> None:
    answer = adapter.post("/api/chat", {"model": site.vllm.aliases[0], **CHAT})
    *parts, last = answer.frames()
    assert "".join(frame["message"]["content"] for frame in parts), answer.said
    assert not any(frame["done"] for frame in parts), answer.said
    expect_an_end(last, "last frame of POST /api/chat", expect)


def test_the_adapter_knows_no_other_model(adapter: Endpoint) -> None:
    for path, body in (("/api/generate", GENERATE), ("/api/chat", CHAT), ("/api/show", {})):
        answer = adapter.post(path, {"model": "verify-has-no-such-model", **body})
        assert "not found" in answer.json(status=404)["error"], answer.said


def test_the_adapter_asks_for_the_token_where_the_settings_say_so(adapter: Endpoint, site: Site) -> None:
    stranger = dataclasses.replace(adapter, token_file="")
    answer = stranger.get("/api/tags")
    assert answer.status == (401 if site.adapter.require_token else 200), answer.said
    for path in ("/", "/health", "/ready"):  # what probes ask, who have none
        answer = stranger.get(path)
        assert answer.status == 200, answer.said


def test_the_adapter_keeps_virtual_models_where_they_outlive_it(run: Run, expect: Expect) -> None:
    expect("mode of the state directory", {"mode": "700"}, {"mode": run(f"stat -L -c %a {ADAPTER_STATE}")[1].strip()})


def test_the_adapter_refuses_what_is_no_json(adapter: Endpoint) -> None:
    answer = adapter.send("/api/generate", '{"model": ')
    assert answer.json(status=400)["error"], answer.said
