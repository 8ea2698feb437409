"""A host's clock was wrong. Times alone are set, a year ahead: of files, in the audit log, in the lock. No clock is touched."""

from __future__ import annotations

import json

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge
from tests.faults.watch import Watch
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_2

# Everything of ours, links included; and an entry of somebody whose clock was ahead.
AHEAD = (
    "find /etc/llm /opt/llm /var/lib/llm /run/llm /etc/systemd/system /usr/local/lib/llm /usr/local/bin -xdev "
    "-exec touch -h -d '+1 year' {} +; "
    "systemctl daemon-reload; "  # a unit file that is newer than systemd's reading of it is a reason to read it
    "date -d '+1 year' -u +'alice (llm-phase 2), since %FT%T+00:00, pid 1' > /run/llm/lock"
)


@pytest.mark.fault("everything of ours on the host is a year ahead of its clock (times of files, audit log, lock)")
def test_times_in_the_future(host: Host, operator: Operator, record: Record) -> None:
    entry = {"by": "alice", "command": "llm-phase", "to": 2, "result": "done", "seconds": 1.0}
    host.ssh(f"{AHEAD}; t=$(date -d '+1 year' -u +%FT%T+00:00)")
    ahead = host.ssh("date -d '+1 year' -u +%FT%T+00:00").stdout.strip()
    host.ssh("cat >> /var/lib/llm/audit.jsonl", stdin=json.dumps({"time": ahead, **entry}) + "\n")
    assert_unchanged_by_a_second_run(operator, host)
    with Watch(host) as watch:
        done = operator.rollback(hosts=[host])
        assert done.status == 0, done.output
        watch.wait_for_text()
    assert watch.text_after() < 20
    last = json.loads(host.ssh("llm-phase log -n 1 --json").stdout)
    assert (last["to"], last["result"]) == ("1", "done") or (int(last["to"]), last["result"]) == (1, "done")
    assert last["time"] < ahead
    converge(operator, host)
    serves_phase_2(host)
    assert_promises_kept(host)
    assert_unchanged_by_a_second_run(operator, host)
    record(
        "a deploy found nothing to do; rollback and deploy went as ever, the log keeps their order", watch.text_after()
    )
