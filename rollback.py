"""The on-call playbook: back to Phase 1, two plain Ollama servers, from what is on the host's own disk. Needs no network.

    pyinfra inventory rollback.py -y                      every host
    pyinfra inventory rollback.py -y --limit 'gpu-01*'    one host
    pyinfra inventory deploy.py -y                        forward again, to the phase in the inventory

On the host itself, without a controller:  systemctl start llm-phase1.target
"""

from pyinfra import host

from roles.downloads import MissingPaths
from roles.layout import ollama_manifest
from roles.phase import back_to_phase_1
from roles.preflight import refuse, settings_of

AGAIN = "pyinfra inventory rollback.py -y"

site = settings_of(host, AGAIN)
if site is not None:
    on_disk = {model: ollama_manifest("text", model) for model in site.ollama.text.models}
    missing = host.get_fact(MissingPaths, paths=tuple(on_disk.values()))
    models = tuple(model for model, manifest in on_disk.items() if manifest not in missing)
    if models:
        back_to_phase_1(site=site, models=models)
    else:
        refuse(
            host,
            f"{host.name}: no Phase 1 on this host's disk, nothing was changed: none of {', '.join(on_disk)} is there\n"
            f"then: pyinfra inventory deploy.py -y",
        )
