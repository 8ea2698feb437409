"""From a bare host to serving. Read it as a table of contents; each line is a folder in roles/.

pyinfra inventory deploy.py --dry     show the plan, change nothing
pyinfra inventory deploy.py -y        apply it
"""

from roles.adapter import adapter
from roles.adapter import inputs as adapter_inputs
from roles.base import base
from roles.consumers import consumers, consumers_pointed
from roles.container_cards import container_cards
from roles.docker import docker
from roles.gpu_sharing import gpu_sharing
from roles.monitoring import monitoring
from roles.nvidia import nvidia
from roles.ollama import inputs as ollama_inputs
from roles.ollama import ollama
from roles.phase import phase
from roles.preflight import preflight
from roles.run_lock import host_locked
from roles.vllm import inputs as vllm_inputs
from roles.vllm import vllm

site = preflight()  # refuses before the first change
if site is not None:
    host_locked(name="Have this host to ourselves", command="pyinfra deploy.py", how=site.lock)
    base(settings=site.base, distribution=site.mirrors.distribution)
    nvidia(site=site)
    gpu_sharing(site=site)
    docker(site=site)
    container_cards(site=site)
    vllm(site=site)
    ollama(site=site)
    adapter(site=site)
    consumers(site=site)
    monitoring(site=site)
    # Last: only here does something start, stop, or a port change hands.
    phase(site=site, inputs={**vllm_inputs(site), **ollama_inputs(site), **adapter_inputs(site)})
    consumers_pointed(site=site)
