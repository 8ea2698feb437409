"""vLLM on loopback: healthy, the right model from the right files, and a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roles.layout import snapshot, vllm_build
from roles.site import Site
from tests.verify.conftest import Expect
from tests.verify.engine import parse_engine_cache
from tests.verify.web import Endpoint

pytestmark = pytest.mark.phase(2)


def test_vllm_is_healthy(vllm: Endpoint) -> None:
    answer = vllm.get("/health")  # GET: vLLM answers HEAD with 405
    assert answer.status == 200, answer.said


def test_vllm_is_the_pinned_version(vllm: Endpoint, site: Site, expect: Expect) -> None:
    seen = vllm.get("/version").json()["version"].partition("+")[0]
    expect("GET /version of vLLM", {"version": vllm_build(site).version}, {"version": seen})


def test_vllm_serves_one_model_as_configured(vllm: Endpoint, site: Site, expect: Expect) -> None:
    listed = vllm.get("/v1/models").json()["data"]
    wanted = {"id": site.vllm.served_name, "max_model_len": site.vllm.max_model_len, "root": snapshot(site).path}
    expect("GET /v1/models of vLLM", {"models": 1} | wanted, {"models": len(listed), **(listed or [{}])[0]})


def test_vllm_keeps_the_beginnings_of_prompts_where_the_settings_say_so(
    vllm: Endpoint, site: Site, expect: Expect, record_property: Callable[[str, object], None]
) -> None:
    answer = vllm.get("/metrics")
    cache = parse_engine_cache(answer.body)
    assert cache, f"{answer.said}\n  expected: vllm:cache_config_info"
    record_property("note", cache)
    expect("/metrics of vLLM", {"prefix_caching": site.vllm.prefix_caching}, {"prefix_caching": cache.keeps_beginnings})


@pytest.mark.full
def test_vllm_generates_a_token(vllm: Endpoint, site: Site) -> None:
    answer = vllm.post("/v1/completions", {"model": site.vllm.served_name, "prompt": "Hello", "max_tokens": 1})
    assert answer.json()["usage"]["completion_tokens"] == 1, answer.said
