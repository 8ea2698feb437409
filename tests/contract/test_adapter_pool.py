"""Several vLLM servers of one model: load is shared, a server that fails is left out and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn

ASK = {"model": "llama2", "prompt": "hi", "stream": False}


@pytest.fixture
def replica() -> Iterator[VllmStandIn]:
    """A second server of the same model."""
    with VllmStandIn() as server:
        yield server


def generate(adapter: AdapterProcess, **more: object) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{adapter.port}/api/generate", json={**ASK, **more}, timeout=60)


def inference(server: VllmStandIn) -> int:
    return sum(request.path == "/v1/chat/completions" for request in server.received)


def test_requests_are_spread_over_all_servers(vllm: VllmStandIn, replica: VllmStandIn, start_adapter: Start) -> None:
    adapter = start_adapter(vllm={"replicas": [replica.url]})
    for _ in range(60):
        assert generate(adapter).status_code == 200
    assert inference(vllm) + inference(replica) == 60
    assert min(inference(vllm), inference(replica)) > 10  # chance decides among equals: 2 * 10**-7 for fewer


def test_a_new_request_goes_to_the_server_with_fewer_on_their_way(
    vllm: VllmStandIn, replica: VllmStandIn, start_adapter: Start, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    vllm.behaviour = Behaviour(is_hanging=True)
    replica.behaviour = Behaviour()
    adapter = start_adapter(vllm={"replicas": [replica.url], "answer_timeout_s": 20})
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(generate, adapter)]
        while inference(vllm) < 1:  # one of the first two meets the server that hangs
            waiting.append(threads.submit(generate, adapter))
            eventually(lambda: inference(vllm) + inference(replica) >= len(waiting))
        before = inference(replica)
        for _ in range(10):
            assert generate(adapter).status_code == 200
        assert inference(replica) == before + 10
        vllm.stop_listening()  # ends the request that hangs
        vllm.listen()


def test_a_server_that_is_down_costs_no_request_and_gets_requests_again_once_it_is_back(
    vllm: VllmStandIn, replica: VllmStandIn, start_adapter: Start, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    adapter = start_adapter(vllm={"replicas": [replica.url]})
    replica.stop_listening()
    assert [generate(adapter).status_code for _ in range(10)] == [200] * 10
    assert inference(vllm) == 10
    replica.listen()

    def serves_again() -> bool:
        assert generate(adapter).status_code == 200
        return inference(replica) > 0

    eventually(serves_again)


def test_a_server_whose_health_is_bad_gets_no_requests(
    vllm: VllmStandIn, replica: VllmStandIn, start_adapter: Start, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    replica.behaviour = Behaviour(health=503)
    adapter = start_adapter(vllm={"replicas": [replica.url]})
    eventually(lambda: any(request.path == "/health" for request in replica.received))

    def is_left_out() -> bool:
        before = inference(replica)
        assert [generate(adapter).status_code for _ in range(4)] == [200] * 4
        return inference(replica) == before

    eventually(is_left_out)


def test_only_when_all_servers_are_down_a_client_is_told_so(
    vllm: VllmStandIn, replica: VllmStandIn, start_adapter: Start
) -> None:
    adapter = start_adapter(vllm={"replicas": [replica.url]})
    vllm.stop_listening()
    replica.stop_listening()
    answer = generate(adapter)
    vllm.listen()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "is not reachable" in answer.json()["error"]
