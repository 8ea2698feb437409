"""The host asks its own services by a timer: what does not serve is a failed unit whose journal names it."""

from __future__ import annotations

import pytest

from lab import Host
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
