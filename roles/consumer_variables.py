"""What a service that uses the host finds in its environment. Read by the role and by the verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roles.site import Site

# Under these names services of this system, the ollama CLI and common clients (LangChain, Open WebUI) look for their server.
TEXT_URLS = ("OLLAMA_URL", "OLLAMA_HOST", "OLLAMA_BASE_URL", "OLLAMA_API_BASE")
VISION_URLS = ("VISION_OLLAMA_URL",)


def variables(site: Site) -> dict[str, dict[str, str]]:
    """Variables by what a service uses (`consumers.services[].uses`). The same in both phases."""
    text = {"OLLAMA_URL": site.ollama_url, "OLLAMA_MODEL": site.vllm.aliases[0]}
    vision = {"VISION_OLLAMA_URL": site.vision_ollama_url, "VISION_MODEL": site.ollama.vision.models[0]}
    return {"text": text, "vision": vision, "both": {**text, **vision}, "nothing": {}}
