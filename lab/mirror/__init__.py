"""What a real host fetches from the internet, served to lab hosts only.

One process per lab serves three sites on one address: a Python index, release archives and apt repositories on the
first port, a model hub on the second, Ollama's registry on the third. Everything is made once, with the machine's own
settings, in the folder that LLM_LAB_CACHE names (default /var/cache/llm-lab).

    from lab.mirror import ensure_running, stop
    mirrors = ensure_running("10.0.0.1", state_dir)      # prepares what is missing, starts what is not running
    mirrors.python_index_url, mirrors.hub_endpoint, ...

Reading order: sites (what listens where), replies and server (HTTP), python_index, hub, ollama_registry (what they
answer), store (where the content comes from), process (start, status, stop), faults.
"""

from __future__ import annotations

from lab.mirror.cache import CacheError
from lab.mirror.process import MirrorError, Mirrors, ensure_running, status, stop
from lab.mirror.sites import Content, Ports
from lab.mirror.store import prepare

__all__ = ["CacheError", "Content", "MirrorError", "Mirrors", "Ports", "ensure_running", "prepare", "status", "stop"]
