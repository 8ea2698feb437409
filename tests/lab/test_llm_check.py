"""The host asks its own services by a timer: what does not serve is a failed unit whose journal names it."""

from __future__ import annotations

import time

import pytest

from lab import Host
from tests.lab.deployments import Operator
from tests.lab.test_deploy import Served, serves_vision

pytestmark = pytest.mark.lab
UNIT = "llm-check.service"


def checked(host: Host) -> tuple[int, str]:
    """Exit status of one more check by its unit, and what it said."""
    host.ssh(f"systemctl reset-failed {UNIT}", check=False)
    status = host.ssh(f"systemctl start {UNIT}", check=False, timeout=120).returncode
    invocation = host.ssh(f"systemctl show -p InvocationID --value {UNIT}").stdout.strip()
    return status, host.ssh(f"journalctl -o cat --no-pager _SYSTEMD_INVOCATION_ID={invocation}").stdout


def test_every_service_that_runs_is_asked_and_one_that_does_not_answer_is_named(served: Served) -> None:
    for host, running in ((served[0], 3), (served[1], 2)):
        assert len(host.ssh("/usr/local/lib/llm/llm-check running").stdout.split()) == running
        assert checked(host) == (0, "")
        host.ssh("systemctl kill --signal=SIGSTOP --kill-whom=all ollama-vision")
        try:
            status, said = checked(host)
        finally:
            host.ssh("systemctl kill --signal=SIGCONT --kill-whom=all ollama-vision")
        assert status == 1
        assert "11435" in said
        serves_vision(host)
        assert checked(host)[0] == 0


def test_an_error_line_of_a_unit_fails_the_verification_with_its_words(operator: Operator, served: Served) -> None:
    host = served[1]
    said = "level=ERROR source=a-test msg=nothing-is-wrong"
    folder = f"/run/systemd/system/{UNIT}.d"
    host.ssh(f"mkdir -p {folder}; cat > {folder}/says.conf", stdin=f"[Service]\nExecStartPre=/bin/echo {said}\n")
    host.ssh(f"systemctl daemon-reload; systemctl start {UNIT}; rm -r {folder}; systemctl daemon-reload")
    seen = operator.verify(host, "-k", "error_lately")
    assert seen.returncode == 1
    assert f": {said}" in seen.stdout
    assert f"{UNIT}, 20" in seen.stdout
    assert "expected no error in the journal for 5m, seen 1" in seen.stdout
    time.sleep(2)
    assert operator.verify(host, "-k", "error_lately", "--journal-window", "1s").returncode == 0
