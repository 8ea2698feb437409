"""Text of a deployed host as its clients get it from the real vLLM: each token when it is made, beginnings kept for the next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.host.cache import CacheCount, cache_count, hit_rate
from lab import Host
from roles.gpus import size_of
from roles.vllm_memory import Demand, layer_bytes
from roles.vllm_model import shape_of
from tests.lab.deployments import Operator
from tests.lab.vllm_probes import ask
from tests.verify.engine import EngineCache, parse_engine_cache

pytestmark = pytest.mark.lab
ALIAS = "llama2:7b"
CHAT = [{"role": "user", "content": "Hello"}]
# The lab's model ends its answers after ten words. It goes on for longer where a schema has it, or, as /v1 can say, without an end.
LONG = {"format": {"type": "array", "items": {"type": "boolean"}, "minItems": 400}, "options": {"num_predict": 1500}}
ENDLESS = {"stream": True, "max_tokens": 1500, "ignore_eos": True}
STREAMS = {
    "/api/generate": {"model": ALIAS, "prompt": "Hello", **LONG},
    "/api/chat": {"model": ALIAS, "messages": CHAT, **LONG},
    "/v1/completions": {"model": ALIAS, "prompt": "Hello", **ENDLESS},
    "/v1/chat/completions": {"model": ALIAS, "messages": CHAT, **ENDLESS},
}
# Runs on the host, so that nothing is between the first text and the look at vLLM. A piece has text where its text is not empty.
_READ = """
import http.client, json, sys, urllib.request
path, body = sys.argv[1], sys.stdin.read()
def text(line):
    if line.startswith(b"data: "):
        line = line[6:]
    try:
        frame = json.loads(line)
    except ValueError:
        return ""
    choice = (frame.get("choices") or [{}])[0]
    return (frame.get("response") or (frame.get("message") or {}).get("content") or choice.get("text")
            or (choice.get("delta") or {}).get("content") or "")
def running():
    page = urllib.request.urlopen("http://127.0.0.1:8000/metrics", timeout=30).read().decode()
    return sum(float(l.split()[-1]) for l in page.splitlines() if l.startswith("vllm:num_requests_running{"))
connection = http.client.HTTPConnection("127.0.0.1", 11434, timeout=300)
connection.request("POST", path, body, {"Content-Type": "application/json"})
answer = connection.getresponse()
pieces, at_first = [], None
for line in answer:
    piece = text(line.strip())
    if piece:
        pieces.append(piece)
        if at_first is None:
            at_first = running()
print(json.dumps({"status": answer.status, "pieces": len(pieces), "characters": len("".join(pieces)),
                  "running_at_first": at_first, "running_at_end": running()}))
"""


@pytest.fixture
def phase2(served: tuple[Host, Host]) -> Host:
    return served[0]


def metrics(host: Host) -> str:
    return host.ssh("curl -fsS http://127.0.0.1:8000/metrics").stdout


def engine(host: Host) -> EngineCache:
    found = parse_engine_cache(metrics(host))
    assert found
    return found


@pytest.mark.parametrize("path", STREAMS)
def test_the_first_text_is_there_while_vllm_still_works_on_the_rest(phase2: Host, path: str) -> None:
    seen = json.loads(phase2.ssh(["python3", "-c", _READ, path], stdin=json.dumps(STREAMS[path])).stdout)
    assert seen["status"] == 200
    assert seen["running_at_first"] == 1
    assert seen["running_at_end"] == 0
    assert seen["pieces"] > 1
    assert seen["characters"] >= 1500


def count(host: Host) -> CacheCount:
    found = cache_count(metrics(host))
    assert found
    return found


def asked(host: Host, prompt: str) -> float:
    """Ask it through 11434; the share of the looked-up tokens that were in the cache."""
    before = count(host)
    status, answer = ask(
        host, 11434, "/api/generate", {"model": ALIAS, "prompt": prompt, "stream": False, "options": {"num_predict": 1}}
    )
    assert status == 200, answer
    rate = hit_rate(before, count(host))
    assert rate is not None
    return rate


def test_a_long_beginning_that_comes_again_is_found_and_verify_says_so(
    operator: Operator, phase2: Host, tmp_path: Path
) -> None:
    beginning = " ".join(f"clause {number}," for number in range(150))
    assert asked(phase2, f"{beginning} what follows?") < 0.2
    assert asked(phase2, f"{beginning} and what else?") > 0.6
    words = ["--quick", "-k", "keeps_the_beginnings", "--reports", str(tmp_path)]
    done = operator.verify_side_by_side(*words, hosts=[phase2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"note     the KV cache holds .*; prefix cache: [1-9][0-9.]* % of \d+ prompt tokens were there", done.stdout
    )
    assert "prefix cache: " in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_cache_holds_as_many_tokens_as_preflight_works_out(phase2: Host) -> None:
    config = json.loads(phase2.ssh("cat /var/lib/llm/hub/models--*/snapshots/*/config.json").stdout)
    model = shape_of(config, 1)
    dtype = phase2.ssh("sed -n 's/^dtype: //p' /etc/llm/vllm.yaml").stdout.strip()
    token = layer_bytes(model, Demand(dtype=dtype)) * model.layers
    size = size_of(phase2.ssh("sed -n 's/^kv-cache-memory-bytes: //p' /etc/llm/vllm.yaml").stdout.strip())
    block = 128 * token  # of the CPU build; whole blocks only
    assert engine(phase2).tokens == size // block * 128


@pytest.mark.slow
def test_a_cache_in_8_bits_holds_four_times_as_many_tokens_as_in_32_and_vllm_serves(
    operator: Operator, phase2: Host
) -> None:
    before = engine(phase2).tokens
    try:
        done = operator.deploy("--data", "vllm.kv_cache_dtype=fp8", hosts=[phase2])
        assert done.status == 0, done.output
        assert 4 * before <= engine(phase2).tokens < 4 * (before + 128)  # whole blocks of 128
        status, answer = ask(phase2, 11434, "/api/generate", {"model": ALIAS, "prompt": "Hello", "stream": False})
        assert (status, bool(answer["response"])) == (200, True)
    finally:
        assert operator.deploy(hosts=[phase2]).status == 0
    assert engine(phase2).tokens == before
