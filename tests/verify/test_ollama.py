"""The Ollama servers: vision in both phases, text in Phase 1; every model is asked for a token or a vector."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import pytest

from roles.layout import ollama_version
from roles.model_names import canonical
from roles.site import Site
from tests.verify.conftest import Expect
from tests.verify.web import Endpoint


def grey_png(side: int) -> bytes:
    """A grey square. Not tiny: image models refuse pictures that are smaller than a patch."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


IMAGE = base64.b64encode(grey_png(64)).decode()


def expect_an_answer(server: Endpoint, model: str) -> None:
    """Whatever the model can do, it does: embedding, completion, completion about an image."""
    __tracebackhide__ = True
    capabilities = server.post("/api/show", {"model": model}).json()["capabilities"]
    if "embedding" in capabilities:
        answer = server.post("/api/embed", {"model": model, "input": "Hello"})
        vectors = answer.json().get("embeddings") or [[]]
        assert any(value != 0 for value in vectors[0]), f"{answer.said}\n  expected an embedding that is not all zero"
    if "completion" in capabilities:
        question: dict[str, Any] = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
        for body in (question, question | {"images": [IMAGE]})[: 2 if "vision" in capabilities else 1]:
            answer = server.post("/api/generate", body)
            assert answer.json().get("eval_count"), f"{answer.said}\n  expected at least one token"
    assert {"embedding", "completion"} & set(capabilities), f"{server.host}: {model} can do nothing: {capabilities}"


def expect_models(server: Endpoint, models: tuple[str, ...], expect: Expect) -> None:
    """All of them; more than the settings name is the operator's own business."""
    __tracebackhide__ = True
    listed = {canonical(model["name"]) for model in server.get("/api/tags").json()["models"]}
    wanted = sorted(canonical(model) for model in models)
    expect(f"GET {server.base}/api/tags", dict.fromkeys(wanted, True), {name: name in listed for name in wanted})


def test_ollama_vision_is_the_pinned_version(vision: Endpoint, site: Site, expect: Expect) -> None:
    expect(f"GET {vision.base}/api/version", {"version": ollama_version(site)}, vision.get("/api/version").json())


def test_ollama_vision_lists_its_models(vision: Endpoint, site: Site, expect: Expect) -> None:
    expect_models(vision, site.ollama.vision.models, expect)


@pytest.mark.full
def test_every_vision_model_answers(vision: Endpoint, site: Site) -> None:
    for model in site.ollama.vision.models:
        expect_an_answer(vision, model)


@pytest.mark.full
@pytest.mark.phase(2)
def test_every_vision_model_answers_through_the_adapter_too(adapter: Endpoint, site: Site) -> None:
    for model in site.ollama.vision.models:
        expect_an_answer(adapter, model)


@pytest.mark.phase(1)
def test_ollama_text_is_the_pinned_version(text: Endpoint, site: Site, expect: Expect) -> None:
    expect(f"GET {text.base}/api/version", {"version": ollama_version(site)}, text.get("/api/version").json())


@pytest.mark.phase(1)
def test_ollama_text_lists_its_models(text: Endpoint, site: Site, expect: Expect) -> None:
    expect_models(text, site.ollama.text.models, expect)


@pytest.mark.full
@pytest.mark.phase(1)
def test_every_text_model_answers(text: Endpoint, site: Site) -> None:
    for model in site.ollama.text.models:
        expect_an_answer(text, model)
