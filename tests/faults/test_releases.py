"""A release that does not come up on a host that serves: it is left again, and the host serves what it served before."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge
from tests.faults.test_models import CANNOT_START, WEIGHTS
from tests.faults.watch import Watch
from tests.lab.deployments import Operator, Result, releases
from tests.lab.test_deploy import serves_phase_2, started_at

NO_MEMORY = ("--data", "vllm.kv_cache_memory=900G")
OTHER_DRAIN = ("--data", "adapter.drain_timeout_s=17")


def left_again(host: Host, operator: Operator, *words: str) -> tuple[Watch, Result]:
    """A deploy of a release that does not come up: the run fails, and the host serves the last good one."""
    good, vision = releases(host)["good"], started_at(host, "ollama-vision.service")
    with Watch(host) as watch:
        done = operator.deploy(*words, hosts=[host])
        assert done.status == 1, done.output
        assert f"going back to release {good}, the last good one, in Phase 2" in done.output
        watch.wait_for_text()
    found = releases(host)
    assert (found["current"], found["good"]) == (good, good)
    assert [one["id"] for one in found["releases"] if one["verdict"]["result"] == "bad"]
    serves_phase_2(host)
    assert assert_promises_kept(host).chosen == 2
    assert started_at(host, "ollama-vision.service") == vision
    assert not watch.vision_ceased()
    assert_unchanged_by_a_second_run(operator, host)
    return watch, done


@pytest.mark.fault("a release whose vLLM has no memory to load, on a host that serves Phase 2")
def test_a_release_whose_vllm_does_not_load(host: Host, operator: Operator, record: Record) -> None:
    watch, done = left_again(host, operator, *NO_MEMORY)
    assert "memory" in done.output.lower()
    record("its last lines were shown, marked bad, back to the last good release", watch.text_after())


@pytest.mark.fault("a release whose adapter cannot start, on a host that serves Phase 2")
def test_a_release_whose_adapter_cannot_start(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    somebody = operator.of_next_version(tmp_path)
    with (tmp_path / "files/adapter/src/ollama_adapter/__init__.py").open("a") as source:
        source.write(CANNOT_START)
    good = releases(host)["good"]
    with Watch(host) as watch:
        done = somebody.deploy(hosts=[host])
        assert done.status == 1, done.output
        assert "this adapter cannot start" in done.output
        assert f"going back to release {good}, the last good one, in Phase 2" in done.output
        watch.wait_for_text()
    serves_phase_2(host)
    assert_promises_kept(host)
    assert releases(host)["current"] == good
    record("its last lines were shown, marked bad, back to the last good release", watch.text_after())
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("a release whose adapter does not take its configuration")
def test_a_release_that_fails_its_own_check(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    somebody = operator.of_next_version(tmp_path)
    with (tmp_path / "files/adapter/src/ollama_adapter/__init__.py").open("a") as source:
        source.write(CANNOT_START.replace('and "--check-config" not in words', ""))
    good, adapter = releases(host)["good"], started_at(host, "ollama-adapter.service")
    with Watch(host) as watch:
        done = somebody.deploy(hosts=[host])
        assert done.status == 1, done.output
        assert "fails its check" in done.output
        assert "this adapter cannot start" in done.output
        watch.wait_for_text()
    assert releases(host)["current"] == good
    assert started_at(host, "ollama-adapter.service") == adapter
    assert watch.text_after() == 0
    record("refused by its own check, nothing was changed", watch.text_after())
    converge(operator, host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("a release over a text model that was damaged on the disk, on a host that serves Phase 2")
def test_a_release_over_a_damaged_model(host: Host, operator: Operator, record: Record) -> None:
    host.ssh(f"cp {WEIGHTS} /root/fault; printf 'damaged!' | dd of={WEIGHTS} bs=1 seek=0 conv=notrunc status=none")
    try:
        with Watch(host) as watch:
            done = operator.deploy(*OTHER_DRAIN, hosts=[host])
            assert done.status == 1, done.output
            assert "fails its check" in done.output
            assert "safetensors" in done.output
            watch.wait_for_text()
    finally:
        host.ssh(f"cp /root/fault {WEIGHTS}")
    assert watch.text_after() == 0
    record("refused: vLLM's own libraries cannot read it; what ran went on", watch.text_after())
    converge(operator, host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("nothing: rollback.py --data to=previous")
def test_a_measured_way_back_to_the_release_before(host: Host, operator: Operator, record: Record) -> None:
    first = releases(host)["good"]
    converge(operator, host, *OTHER_DRAIN)
    assert releases(host)["good"] != first
    with Watch(host) as watch:
        back = operator.rollback("--data", "to=previous", hosts=[host])
        assert back.status == 0, back.output
        watch.wait_for_text()
    assert releases(host)["current"] == first
    assert not watch.vision_ceased()
    assert_promises_kept(host)
    record("the adapter alone was restarted, the release before serves", watch.text_after())
    assert_unchanged_by_a_second_run(operator, host)
