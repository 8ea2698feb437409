"""What a deploy brings does not work: a damaged model, a revision that is not there, no memory, an adapter that cannot start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import (
    HUB_ELSEWHERE,
    OTHER_HUB,
    Record,
    assert_unchanged_by_a_second_run,
    converge,
    last_step,
    next_version,
)
from tests.faults.watch import Watch
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_phase_2
from tests.lab.test_refusals import mirror_fault

WEIGHTS = "$(readlink -f /var/lib/llm/hub/models--*/snapshots/*/model*.safetensors | head -1)"
# It passes its check, and ends when it should serve.
CANNOT_START = """

if "--config" in (words := __import__("sys").argv) and "--check-config" not in words:
    raise SystemExit("this adapter cannot start")
"""


def fails_forward_and_goes_back(host: Host, operator: Operator, *words: str) -> tuple[float, str]:
    """A host in Phase 1 whose deploy to Phase 2 fails serves Phase 1 again. Seconds until it did, and what was printed."""
    host.ssh("llm-phase 1", timeout=120)
    with Watch(host) as watch:
        done = operator.deploy(*words, hosts=[host])
        assert done.status == 1, done.output
        assert re.search(
            "going back to (Phase 1, which served before|release r-[0-9a-f]+, the last good one, in Phase 1)",
            done.output,
        )
        watch.wait_for_text()
    serves_phase_1(host)
    assert assert_promises_kept(host).chosen == 1
    assert not watch.vision_ceased()
    return watch.text_after(), done.output


@pytest.mark.fault("the text model arrives damaged from the hub")
def test_a_model_damaged_on_its_way(host: Host, operator: Operator, record: Record) -> None:
    with Watch(host) as watch, mirror_fault(operator, {"site": "hub", "path": "/meta-llama", "corrupt_at": 300_000}):
        failed = operator.deploy(*OTHER_HUB, hosts=[host])
        assert failed.status == 1
        assert "not the content the hub announced" in failed.output
        assert_promises_kept(host)
    assert watch.text_after() == 0
    serves_phase_2(host)
    converge(operator, host)
    host.ssh(f"rm -rf {HUB_ELSEWHERE}")
    record(f"thrown away at its checksum, {last_step(failed)!r} failed; what ran went on", watch.text_after())


@pytest.mark.fault("the text model is damaged on the host's disk, at a deploy forward")
def test_a_model_damaged_on_the_disk(host: Host, operator: Operator, record: Record) -> None:
    host.ssh(f"printf 'damaged!' | dd of={WEIGHTS} bs=1 seek=8 conv=notrunc status=none")
    until_served, said = fails_forward_and_goes_back(host, operator)
    assert "vllm.service" in said
    # What docs/on-call.md says; the download looks at what is there.
    host.ssh("rm /var/lib/llm/hub/.complete/*")
    converge(operator, host)
    serves_phase_2(host)
    record(
        "vLLM did not start, back to Phase 1; told to look (docs/on-call.md), the plain deploy fetched it anew",
        until_served,
    )
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("a revision of the text model that does not exist")
def test_a_revision_that_is_not_there(host: Host, operator: Operator, record: Record) -> None:
    with Watch(host) as watch:
        refused = operator.deploy("--data", f"vllm.model_revision={'0' * 40}", hosts=[host])
        assert refused.status == 1
        assert "refused, nothing was changed" in refused.output
        assert "vllm.model_revision" in refused.output
    assert_promises_kept(host)
    record("refused by preflight, nothing was changed", watch.text_after())
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("vLLM has too little memory to load, at a deploy forward")
def test_no_memory_to_load(host: Host, operator: Operator, record: Record) -> None:
    until_served, said = fails_forward_and_goes_back(host, operator, "--data", "vllm.kv_cache_memory=900G")
    record("vLLM did not start, its last lines were shown, back to Phase 1; without the setting: Phase 2", until_served)
    assert "memory" in said.lower()
    converge(operator, host)
    serves_phase_2(host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("an adapter that cannot start, at a deploy forward")
def test_an_adapter_that_cannot_start(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    somebody = next_version(operator, tmp_path)
    with (tmp_path / "files/adapter/src/ollama_adapter/__init__.py").open("a") as source:
        source.write(CANNOT_START)
    until_served, said = fails_forward_and_goes_back(host, somebody)
    assert "this adapter cannot start" in said
    converge(operator, host)
    serves_phase_2(host)
    record("its last lines were shown, back to Phase 1; with the version before: Phase 2", until_served)
    assert_unchanged_by_a_second_run(operator, host)
