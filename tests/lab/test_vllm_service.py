"""vLLM's life under systemd: each fault is really made, on a deployed host. Facts it rests on: docs, measured life cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import Host
from tests.lab.deployments import Operator
from tests.lab.vllm_probes import API, CONFIGURATION, ENGINE, RECORD, Clients, Vllm, ask, stop_in_mid_stream, wait_until
from tests.outage.measuring import clients_of
from tests.outage.prober import SERIES
from tests.outage.promises import PROMISES

pytestmark = pytest.mark.lab
TEXT = next(replace(series, interval_s=1.0) for series in SERIES if series.name == "11434 generate")
# A start that hangs as long as the configuration has this sign in it; vLLM itself was seen to hang while loading.
HANGS = """[Service]
TimeoutStartSec=60
ExecStart=
ExecStart=/bin/sh -c 'grep -q {sign} {configuration} && exec sleep infinity; exec {vllm} serve --config {configuration}'
"""


@pytest.fixture
def vllm(served: tuple[Host, Host]) -> Iterator[Vllm]:
    """The unit of the Phase-2 host, serving at the start of a test and again after it."""
    unit = Vllm(served[0])
    unit.restore()
    yield unit
    unit.restore()


def assert_serves_with_the_deployed_inputs(vllm: Vllm) -> None:
    assert vllm.shown("ActiveState") == "active"
    assert vllm.serves()
    assert vllm.file(RECORD) == vllm.file("/etc/llm/inputs/vllm.service.json")
    assert vllm.pid_of(API)
    assert vllm.pid_of(ENGINE)


@pytest.mark.parametrize("victim", [ENGINE, API], ids=["engine", "api"])
def test_when_a_process_of_vllm_is_killed_all_of_it_goes_and_it_serves_again_while_clients_get_reasons(
    vllm: Vllm, victim: str
) -> None:
    before, restarts = vllm.processes(), vllm.restarts

    def killed() -> list[str]:
        vllm.signal(victim, "KILL")
        wait_until("systemd restarts it", lambda: vllm.restarts > restarts)
        # The next start has not begun or is at its beginning: what is left now would hold the card's memory for good.
        assert not before.keys() & vllm.processes().keys()
        wait_until("the record of the last good start is gone", lambda: vllm.file(RECORD) is None)
        wait_until("clients get a reason", clients.refusals)
        vllm.wait_for_state("active")
        return []

    with Clients(vllm.host) as clients:
        seen = clients_of(vllm.host.address, killed, [TEXT], streams=1)
    # The stream that was on its way ends with a line that says why, and so does none of the others without a reason.
    for promise in ("error lines", "told streams"):
        verdict = PROMISES[promise](seen)
        assert verdict.is_kept, f"{verdict.sentence}: {verdict.detail}"
    assert_serves_with_the_deployed_inputs(vllm)
    assert vllm.restarts == restarts + 1
    assert clients.broken == []
    assert set(clients.vision) == {200}
    assert [answer for answer in clients.text if answer[0] not in (200, 503)] == []
    assert all("vLLM" in reason for reason in clients.refusals())


def test_stopped_and_started_it_comes_and_goes_clean_and_a_stop_while_it_loads_is_obeyed(vllm: Vllm) -> None:
    vllm.ctl("stop")
    assert vllm.shown("ActiveState") == "inactive"
    assert vllm.shown("Result") == "success"
    assert vllm.shown("ExecMainStatus") == "0"
    assert vllm.processes() == {}

    mark = vllm.mark()
    vllm.ctl("start", "--no-block")
    wait_until("the engine is being made", lambda: "Initializing a V1 LLM engine" in vllm.journal(mark))
    assert vllm.file(RECORD) is None
    vllm.ctl("stop")
    assert vllm.shown("ActiveState") == "inactive"
    assert vllm.processes() == {}
    assert "timed out" not in vllm.journal(mark)

    vllm.ctl("start")
    assert_serves_with_the_deployed_inputs(vllm)


def test_a_stream_that_fits_into_the_drain_time_is_finished_before_the_unit_stops(vllm: Vllm) -> None:
    seen = stop_in_mid_stream(vllm.host, tokens=1900)
    assert seen["state_at_stop"] == "stop-sigterm"
    assert seen["finish"] == ["length"]
    assert seen["done"]
    assert seen["broken"] is None
    vllm.wait_for_state("inactive")
    assert vllm.shown("Result") == "success"
    assert vllm.processes() == {}


@pytest.mark.slow
def test_a_client_that_outlasts_the_drain_time_does_not_keep_the_unit_from_stopping(vllm: Vllm) -> None:
    vllm.ctl("stop")
    vllm.configure("shutdown-timeout", "1")
    vllm.drop_in("[Service]\nTimeoutStopSec=10\n")
    vllm.ctl("start")
    # Sixteen answers at once take many times the second that they get. The client reads on until vLLM ends the stream or is killed.
    seen = stop_in_mid_stream(vllm.host, tokens=1900, choices=16)
    assert seen["state_at_stop"] == "stop-sigterm"
    assert "length" not in seen["finish"]
    assert seen["broken"] or not seen["done"]
    wait_until("it is stopped", lambda: vllm.shown("ActiveState") in ("inactive", "failed"))
    assert vllm.processes() == {}


@pytest.mark.slow
def test_a_vllm_that_does_not_heed_the_stop_is_killed_with_its_engine_when_the_time_to_stop_is_over(vllm: Vllm) -> None:
    # A signal that does nothing, as SIGTERM does nothing while vLLM loads. (SIGSTOP would not do: systemd sends SIGCONT.)
    vllm.drop_in("[Service]\nKillSignal=SIGCONT\nTimeoutStopSec=5\n")
    vllm.ctl("stop")
    assert vllm.shown("Result") == "timeout"
    assert vllm.processes() == {}


def test_a_configuration_that_cannot_work_fails_loudly_until_a_deploy_puts_it_right(
    vllm: Vllm, operator: Operator
) -> None:
    vllm.ctl("stop")
    vllm.configure("model", "/nowhere")
    vllm.drop_in("[Unit]\nStartLimitBurst=2\n")
    mark = vllm.mark()
    started = vllm.ctl("start", check=False)
    assert started.returncode != 0
    assert "failed" in started.stderr
    assert "'/nowhere'" in vllm.journal(mark)
    assert "has ended (last seen" in vllm.journal(mark)  # the probe did not sit out its time
    wait_until("systemd gives up", lambda: "Start request repeated too quickly" in vllm.journal(mark))
    assert vllm.shown("ActiveState") == "failed"
    assert vllm.processes() == {}
    assert vllm.file(RECORD) is None

    repaired = operator.deploy(hosts=[vllm.host])
    assert repaired.status == 0, repaired.output
    assert {
        "vLLM | Write vLLM's configuration",
        "Phase | Have the host in its phase; when that does not come up, in the one that served before",
    } <= {*repaired.changed}
    assert_serves_with_the_deployed_inputs(vllm)


def test_a_configuration_changed_by_hand_is_put_back_and_vllm_restarted_with_it(vllm: Vllm, operator: Operator) -> None:
    vllm.configure("shutdown-timeout", "61")
    vllm.ctl("restart")
    mark = vllm.mark()
    repaired = operator.deploy(hosts=[vllm.host])
    assert repaired.status == 0, repaired.output
    assert "'shutdown_timeout': 60" in vllm.journal(mark), "it runs with what was changed by hand"
    assert_serves_with_the_deployed_inputs(vllm)


@pytest.mark.slow
def test_a_deploy_of_a_setting_that_vllm_refuses_says_so_and_the_next_one_converges(
    vllm: Vllm, operator: Operator
) -> None:
    refused = operator.deploy("--data", "vllm.max_model_len=9999999", hosts=[vllm.host])
    assert refused.status == 1
    last_step = refused.output.rpartition("Starting operation: ")[2]
    assert last_step.startswith("Phase | Have vllm.service run with the current inputs")
    assert "max_model_len (9999999) is greater than" in last_step
    assert ask(vllm.host, 11435, "/api/version")[0] == 200
    assert_serves_with_the_deployed_inputs(vllm)  # of the last good release

    # At the next deploy systemd is in the middle of trying such a setting: here a try that never ends.
    vllm.host.ssh(f"echo '# 9999999' >> {CONFIGURATION}")
    vllm.drop_in(HANGS.format(sign="9999999", configuration=CONFIGURATION, vllm="/opt/llm/vllm/current/bin/vllm"))
    vllm.ctl("restart", "--no-block")
    wait_until("it tries the old setting", lambda: "sleep" in vllm.processes().values())
    converged = operator.deploy(hosts=[vllm.host])
    assert converged.status == 0, converged.output
    assert_serves_with_the_deployed_inputs(vllm)
    assert operator.deploy(hosts=[vllm.host]).changed == []


def test_after_a_reboot_the_host_serves_in_the_same_phase_by_itself(vllm: Vllm) -> None:
    state = vllm.file("/var/lib/llm/state.json")
    vllm.host.reboot()
    wait_until(
        "its phase is up", lambda: vllm.host.ssh("systemctl is-active llm-phase2.target", check=False).returncode == 0
    )
    assert_serves_with_the_deployed_inputs(vllm)
    assert vllm.restarts == 0
    assert vllm.file("/var/lib/llm/state.json") == state
    status, answer = ask(vllm.host, 11434, "/api/generate", {"model": "llama2:7b", "prompt": "Hello", "stream": False})
    assert (status, answer["done"]) == (200, True)
