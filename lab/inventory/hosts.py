"""The lab's hosts, as pyinfra sees them: `pyinfra lab/inventory deploy.py`. The demo has one host in each phase.

LLM_LAB_SUFFIX=test names the lab that the tests use.
"""

import os

from lab import Lab
from lab.mirrored import settings

_lab = Lab.for_checkout(suffix=os.environ.get("LLM_LAB_SUFFIX", ""))


def _entry(name):
    host = _lab.host(name)
    ssh = {
        "ssh_hostname": host.address,
        "ssh_user": "root",
        "ssh_key": str(_lab.private_key),
        "ssh_known_hosts_file": str(_lab.known_hosts),
    }
    return name, {**ssh, **settings(_lab)}


_names = [host.name for host in _lab.hosts()]
phase1 = [_entry(name) for name in _names if name.endswith("phase1")]
phase2 = [_entry(name) for name in _names if not name.endswith("phase1")]
