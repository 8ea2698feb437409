"""Embeddings from a pooling vLLM through the running adapter: batches, truncation, faults, clients that leave."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.conftest import REAL, UPSTREAMS
from tests.contract.adapter_process import FACTS, AdapterProcess, Start
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn
from tests.contract.wire import Wire, post, request

EMBEDS = {**FACTS, "capabilities": ["embedding"], "aliases": ["tinyembed"]}
ASK = {"model": "tinyembed", "input": "hello"}
LONG = "hello " * 600  # 3601 tokens


@pytest.fixture(scope="module", params=UPSTREAMS)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter in front of a model that embeds."""
    with VllmStandIn("embed") as stand_in:
        url = request.getfixturevalue("real_urls")["embed"] if request.param == REAL else stand_in.url
        with AdapterProcess(tmp_path_factory.mktemp("embed"), vllm={**EMBEDS, "url": url}) as process:
            yield process


@pytest.fixture
def pooling() -> Iterator[VllmStandIn]:
    """A vLLM that embeds, of the test's own."""
    with VllmStandIn("embed") as server:
        yield server


@pytest.fixture
def start(start_adapter: Start, pooling: VllmStandIn) -> Callable[..., AdapterProcess]:
    """Starts an adapter in front of it."""
    return lambda **more: start_adapter(vllm={**EMBEDS, "url": pooling.url, **more})


def embed(adapter: AdapterProcess, value: Any, **more: Any) -> Any:
    answer = post(adapter.port, "/api/embed", {**ASK, "input": value, **more})
    assert answer.status_line == "HTTP/1.1 200 OK", answer.body
    return json.loads(answer.body)


def error(adapter: AdapterProcess, path: str, body: Any) -> tuple[str, str]:
    answer = post(adapter.port, path, body)
    return answer.status_line[9:12], json.loads(answer.body)["error"]


def near(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def test_a_list_gives_a_vector_for_each_text_in_its_order(adapter: AdapterProcess) -> None:
    both = embed(adapter, ["hello", "", "world"])
    assert both["prompt_eval_count"] == 6 + 1 + 6
    for text, vector in zip(("hello", "", "world"), both["embeddings"], strict=True):
        alone = embed(adapter, [text])["embeddings"][0]
        assert near(vector, alone)
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-6)
    assert all(both[name] > 0 for name in ("total_duration", "load_duration"))


def test_thousands_of_texts_are_embedded_in_their_order(adapter: AdapterProcess) -> None:
    texts = [f"text {number}" for number in range(2000)]
    answer = embed(adapter, texts, dimensions=16)
    assert len(answer["embeddings"]) == 2000
    assert answer["prompt_eval_count"] == sum(1 + len(text) for text in texts)
    for number in (0, 255, 256, 1999):
        assert near(answer["embeddings"][number], embed(adapter, texts[number], dimensions=16)["embeddings"][0])


def test_of_a_text_that_is_too_long_the_beginning_is_embedded(adapter: AdapterProcess) -> None:
    answer = embed(adapter, LONG)
    assert answer["prompt_eval_count"] == 2047
    assert near(answer["embeddings"][0], embed(adapter, LONG[:2046])["embeddings"][0])
    assert embed(adapter, LONG, options={"num_ctx": 100})["prompt_eval_count"] == 99
    assert embed(adapter, ["a", LONG])["prompt_eval_count"] == 2 + 2047


def test_a_text_that_is_too_long_is_refused_where_it_must_not_be_cut(adapter: AdapterProcess) -> None:
    text = "the input length exceeds the context length"
    assert error(adapter, "/api/embed", {**ASK, "input": ["a", LONG], "truncate": False}) == ("400", text)
    assert error(adapter, "/api/embeddings", {"model": "tinyembed", "prompt": LONG}) == ("500", text)


def test_wrong_requests_are_refused_as_ollama_does(adapter: AdapterProcess) -> None:
    assert error(adapter, "/api/embed", {**ASK, "input": ["a", 5]}) == ("400", "invalid input type")
    options = {"num_ctx": "many"}
    assert error(adapter, "/api/embed", {**ASK, "options": options}) == (
        "500", 'option "num_ctx" must be of type integer',
    )  # fmt: skip
    for path, body, verb in (
        ("/api/generate", {"prompt": "x"}, "generate"),
        ("/api/generate", {}, "generate"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}]}, "chat"),
    ):
        expected = ("400", f'"tinyembed" does not support {verb}')
        assert error(adapter, path, {"model": "tinyembed", **body}) == expected


def test_the_released_client_gets_its_vectors(adapter: AdapterProcess) -> None:
    client = ollama.Client(f"http://127.0.0.1:{adapter.port}")
    answer = client.embed("tinyembed", ["hello", "world"], dimensions=8)
    assert [len(vector) for vector in answer.embeddings] == [8, 8]
    assert answer.prompt_eval_count == 12
    assert len(client.embeddings("tinyembed", "hello").embedding) == 384
    client._client.close()


def test_an_empty_input_loads_the_model_and_keep_alive_0_unloads_it(adapter: AdapterProcess) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{adapter.port}", timeout=60) as client:

        def loaded() -> list[str]:
            return [model["name"] for model in client.get("/api/ps").json()["models"]]

        client.post("/api/embed", json={**ASK, "input": [], "keep_alive": 0})
        assert loaded() == []
        assert client.post("/api/embed", json={"model": "tinyembed"}).json() == {"model": "tinyembed", "embeddings": []}
        assert loaded() == ["tinyembed:latest"]
        client.post("/api/embeddings", json={"model": "tinyembed", "prompt": "a", "keep_alive": 0})
        assert loaded() == []


def test_what_vllm_is_asked_for_is_cheap_to_read(start: Callable[..., AdapterProcess], pooling: VllmStandIn) -> None:
    embed(start(), "hello")
    [asked] = pooling.received
    assert asked.json == {
        "model": "llm", "input": ["hello"], "encoding_format": "base64", "truncate_prompt_tokens": 2047,
        "truncation_side": "right",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["hello", []])
def test_a_vllm_that_is_down_is_a_503_that_says_so(
    start: Callable[..., AdapterProcess], pooling: VllmStandIn, value: Any
) -> None:
    adapter = start()
    pooling.stop_listening()
    answer = post(adapter.port, "/api/embed", {**ASK, "input": value})
    assert (answer.status_line[9:12], answer.header("retry-after")) == ("503", ["5"])
    assert "connection refused" in json.loads(answer.body)["error"]


def test_a_vllm_that_hangs_is_waited_for_no_longer_than_allowed(
    start: Callable[..., AdapterProcess], pooling: VllmStandIn
) -> None:
    adapter = start(answer_timeout_s=0.5)
    pooling.behaviour = Behaviour(is_hanging=True)
    assert error(adapter, "/api/embed", ASK) == ("503", "vLLM did not answer within 0.5 s")


def test_an_error_of_vllm_keeps_its_message(start: Callable[..., AdapterProcess], pooling: VllmStandIn) -> None:
    adapter = start()
    pooling.behaviour = Behaviour(status=500, error="boom")
    assert error(adapter, "/api/embed", ASK) == ("500", "boom")


def test_more_requests_than_allowed_are_told_that_the_server_is_busy(
    start: Callable[..., AdapterProcess], pooling: VllmStandIn, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    adapter = start(max_requests=1)
    pooling.behaviour = Behaviour(is_hanging=True)
    with Wire(adapter.port) as wire:
        wire.send(request("/api/embed", ASK))
        eventually(lambda: len(pooling.received) == 1)
        assert error(adapter, "/api/embed", ASK)[0] == "503"


def test_the_request_of_a_client_that_leaves_is_aborted(
    start: Callable[..., AdapterProcess], pooling: VllmStandIn, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    adapter = start()
    pooling.behaviour = Behaviour(is_hanging=True)
    with Wire(adapter.port) as wire:
        wire.send(request("/api/embed", ASK))
        eventually(lambda: len(pooling.received) == 1)
    line = adapter.event("request")
    assert (line["status"], line["error"]) == (499, "client gone")
    pooling.behaviour = Behaviour()
    embed(adapter, "hello")
    assert pooling.connections == 2  # the first was closed: that is how vLLM learns of it


def test_a_model_that_turns_out_not_to_embed_says_so(start_adapter: Start) -> None:
    adapter = start_adapter(vllm={"capabilities": ["embedding"]})
    text = "This server does not support embeddings. Start it with `--embeddings`"
    assert error(adapter, "/api/embed", {"model": "llama2", "input": "x"}) == ("501", text)
    assert error(adapter, "/api/embeddings", {"model": "llama2", "prompt": "x"}) == ("500", text)
