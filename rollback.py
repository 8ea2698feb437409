"""The on-call playbook: back to Phase 1, two plain Ollama servers, from what is on the host's own disk. Needs no network.

    pyinfra inventory rollback.py -y                      every host
    pyinfra inventory rollback.py -y --limit gpu-01       one host
    pyinfra inventory deploy.py -y                        forward again, to the phase in the inventory

On the host itself, without a controller:  systemctl start llm-phase1.target
"""

from pyinfra import host

from roles.adapter import inputs as adapter_inputs
from roles.ollama import inputs as ollama_inputs
from roles.phase import phase
from roles.preflight import settings_of
from roles.vllm import inputs as vllm_inputs

wanted = settings_of(host, "pyinfra inventory rollback.py")
if wanted is not None:
    back = wanted.model_copy(update={"phase": 1})
    phase(site=back, inputs={**vllm_inputs(back), **ollama_inputs(back), **adapter_inputs(back)})
