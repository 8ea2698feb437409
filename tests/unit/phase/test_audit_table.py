"""The audit logs of several hosts as one table."""

from __future__ import annotations

from roles.phase.audit_table import table


def test_entries_of_all_hosts_are_in_one_order_and_in_columns() -> None:
    entry = {"by": "alice", "command": "pyinfra deploy.py", "seconds": 3.1}
    lines = table(
        {
            "gpu-02": [{**entry, "time": "2026-11-29T01:00:05+00:00", "to": "2", "result": "done"}],
            "gpu-01": [
                {
                    **entry,
                    "time": "2026-11-29T01:00:00+00:00",
                    "to": "release r-1",
                    "result": "bad",
                    "detail": "no\ntoken",
                },
                {
                    "time": "2026-11-29T01:00:09+00:00",
                    "by": "bob",
                    "command": "break the lock",
                    "result": "lock broken",
                },
            ],
        }
    )
    assert lines == [
        "time                       host    what         result       seconds  by     command            detail",
        "2026-11-29T01:00:00+00:00  gpu-01  release r-1  bad          3.1      alice  pyinfra deploy.py  no token",
        "2026-11-29T01:00:05+00:00  gpu-02  Phase 2      done         3.1      alice  pyinfra deploy.py",
        "2026-11-29T01:00:09+00:00  gpu-01               lock broken           bob    break the lock",
    ]


def test_hosts_without_a_log_give_the_head_alone() -> None:
    assert len(table({"gpu-01": []})) == 1
