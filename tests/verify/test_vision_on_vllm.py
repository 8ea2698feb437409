"""Vision on vLLM: where the settings have it so, 11435 answers about pictures from a vLLM; Ollama keeps the rest, on loopback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roles.layout import vision_snapshot, vllm_build
from roles.model_names import canonical
from roles.site import Site
from tests.verify.conftest import Expect
from tests.verify.targets import Target
from tests.verify.test_ollama import IMAGE
from tests.verify.web import Endpoint

pytestmark = [pytest.mark.phase(2), pytest.mark.usefixtures("on_vllm")]


@pytest.fixture
def on_vllm(target: Target, site: Site) -> None:
    """Skips where Ollama answers about pictures."""
    if not site.vision_on_vllm:
        pytest.skip(f'{target.name}: vision is "ollama"')


@pytest.fixture
def seeing(site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    """The vLLM for pictures."""
    return endpoint("127.0.0.1", site.vllm_vision.port)


def test_the_vllm_for_pictures_is_healthy(seeing: Endpoint) -> None:
    answer = seeing.get("/health")
    assert answer.status == 200, answer.said


def test_the_vllm_for_pictures_is_the_pinned_version(seeing: Endpoint, site: Site, expect: Expect) -> None:
    seen = seeing.get("/version").json()["version"].partition("+")[0]
    expect("GET /version of the vLLM for pictures", {"version": vllm_build(site).version}, {"version": seen})


def test_the_vllm_for_pictures_serves_one_model_as_configured(seeing: Endpoint, site: Site, expect: Expect) -> None:
    listed, settings = seeing.get("/v1/models").json()["data"], site.vllm_vision
    root = vision_snapshot(site).path
    wanted = {"models": 1, "id": settings.served_name, "max_model_len": settings.max_model_len, "root": root}
    expect("GET /v1/models of the vLLM for pictures", wanted, {"models": len(listed), **(listed or [{}])[0]})


def test_the_vision_adapter_is_ready(vision: Endpoint) -> None:
    for path in ("/health", "/ready"):
        answer = vision.get(path)
        assert answer.status == 200, answer.said


def test_the_vision_adapter_lists_its_aliases_and_what_ollama_has_beside(
    vision: Endpoint, site: Site, expect: Expect
) -> None:
    wanted = sorted(map(canonical, site.vision_models))
    seen = sorted(canonical(model["name"]) for model in vision.get("/api/tags").json()["models"])
    expect("GET /api/tags of 11435", {"models": wanted}, {"models": seen})


def test_every_vision_alias_sees(vision: Endpoint, site: Site, expect: Expect) -> None:
    for alias in site.vllm_vision.aliases:
        shown = vision.post("/api/show", {"model": alias}).json()
        expect(f"POST /api/show {alias}", {"vision": True}, {"vision": "vision" in shown["capabilities"]})


@pytest.mark.full
def test_a_picture_is_answered_about_streamed_and_through_the_other_port(
    vision: Endpoint, adapter: Endpoint, site: Site
) -> None:
    question = {"role": "user", "content": "What is it?", "images": [IMAGE]}
    body = {"model": site.vllm_vision.aliases[0], "messages": [question], "options": {"num_predict": 4}}
    for server in (vision, adapter):
        answer = server.post("/api/chat", body)
        *parts, last = answer.frames()
        assert "".join(frame["message"]["content"] for frame in parts), answer.said
        assert last["done"] and last["prompt_eval_count"] > 1, answer.said


@pytest.mark.full
def test_what_is_no_picture_is_refused(vision: Endpoint, site: Site) -> None:
    body = {"model": site.vllm_vision.aliases[0], "prompt": "What is it?", "images": ["bm8gcGljdHVyZQ=="]}
    answer = vision.post("/api/generate", body)
    assert answer.json(status=400)["error"], answer.said
