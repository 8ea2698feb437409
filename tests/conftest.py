"""Real vLLMs for every test that wants one: started once for all of them, on first use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from lab import engines

STAND_IN, REAL = "stand-in", "real vLLM"
# For fixtures that offer either. A real one takes a minute to start and, once per machine, minutes to install.
UPSTREAMS = [STAND_IN, pytest.param(REAL, marks=pytest.mark.engines)]
# Those that the tests of text share; the one for pictures is started by the tests that need it.
VARIANTS = tuple(name for name in engines.VARIANTS if name != "vision")


def named_urls(text: str) -> dict[str, str]:
    """Variant -> URL out of `http://127.0.0.1:8000,tools=http://127.0.0.1:8001`; one without a variant is plain."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return {name if url else "plain": url or name for name, _, url in (part.partition("=") for part in parts)}


@pytest.fixture(scope="session")
def real_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """URL of a real vLLM for each text variant of the miniature model.

    LLM_TEST_VLLM_URL names vLLMs that run already (`.venv/bin/python -m lab.engines` prints it): nothing is started then, which is
    quicker when tests are run again and again.
    """
    if given := named_urls(os.environ.get("LLM_TEST_VLLM_URL", "")):
        assert given.keys() >= {*VARIANTS}, f"LLM_TEST_VLLM_URL must name {', '.join(VARIANTS)}"
        yield given
        return
    if reason := engines.why_not():
        pytest.skip(reason)
    with engines.running(VARIANTS, tmp_path_factory.mktemp("vllm")) as running:
        yield {variant: engine.url for variant, engine in running.items()}
