"""The on-call playbook: back to Phase 1, two plain Ollama servers, from what is on the host's own disk. Needs no network.

    pyinfra inventory rollback.py -y                      every host
    pyinfra inventory rollback.py -y --limit 'gpu-01*'    one host
    pyinfra inventory rollback.py -y --data to=previous   to the good release before this one, in its phase; or to=<id>
    pyinfra inventory exec -- llm-phase releases          which there are
    pyinfra inventory deploy.py -y                        forward again, to the phase in the inventory

On the host itself, without a controller:  llm-phase 1
"""

import re
from typing import Any

from pyinfra import host

from roles.phase import back_to_phase_1, back_to_release
from roles.phase.operations import PROGRAM, PhaseStatus
from roles.preflight import refuse
from roles.run_lock import host_locked

status = host.get_fact(PhaseStatus)
lacking = status.get("complete", {}).get("1")
how: Any = host.data.get("lock") or "respect"
to = str(host.data.get("to") or "phase1")
if how not in ("respect", "break"):
    refuse(host, f"{host.name}: lock: {how!r} is neither respect nor break; nothing was changed")
elif to != "phase1" and to != "previous" and not re.fullmatch("r-[0-9a-f]{12}", to):
    refuse(
        host,
        f"{host.name}: to: {to!r} is neither phase1, previous nor the id of a release; nothing was changed\n"
        "the ids: pyinfra inventory exec -- llm-phase releases",
    )
elif to == "phase1" and lacking:
    refuse(
        host,
        f"{host.name}: no Phase 1 on this host's disk, nothing was changed: missing are {', '.join(lacking[:3])}\n"
        "then: pyinfra inventory deploy.py -y",
    )
elif lacking is None:
    refuse(
        host,
        f"{host.name}: {PROGRAM} is not there, or says nothing; nothing was changed. By hand, on the host:\n"
        "systemctl start llm-phase1.target",
    )
else:
    host_locked(name="Have this host to ourselves", command="pyinfra rollback.py", how=how)
    if to == "phase1":
        back_to_phase_1()
    else:
        back_to_release(release=to)
