"""GPU sharing: each service gets its cards, by UUID, and no others; a shared card is cleared before vLLM takes its part.

Nothing of this is on a host with `gpu = "none"`. Runs after the driver is loaded: before that nobody knows a card's UUID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from roles.gpu_sharing.operations import gpus_resolved
from roles.gpus import CONTEXT_BYTES, DRIVER_BYTES, shares_a_card, size_of, vllms_share_a_card
from roles.host_files import install_program
from roles.layout import OLLAMA_EMBED, OLLAMA_TEXT, OLLAMA_VISION, VLLM, VLLM_VISION

if TYPE_CHECKING:
    from roles.site import Site


@deploy("GPU sharing")
def gpu_sharing(site: Site) -> None:
    if site.gpu == "none":
        return
    install_program("Install resolve-gpus", "roles/gpu_sharing/host/resolve-gpus")
    install_program("Install make-room", "roles/gpu_sharing/host/make-room")
    gpus_resolved(name="Give each service its cards", wanted=wanted(site))


def wanted(site: Site) -> dict[str, object]:
    """What resolve-gpus is told, see there."""
    services = [
        {"unit": OLLAMA_VISION, "key": "ollama.vision.gpus", "gpus": list(site.ollama.vision.gpus), "least": 1},
        {"unit": OLLAMA_TEXT, "key": "ollama.text.gpus", "gpus": list(site.ollama.text.gpus), "least": 1},
    ]
    if site.prepares_phase_2:
        own = list(site.vllm.gpus)
        services.insert(0, {"unit": VLLM, "key": "vllm.gpus", "gpus": own, "least": site.vllm.tensor_parallel_size})
    told: dict[str, object] = {"services": services, "shared": shares_a_card(site), "reserve": reserve(site)}
    if not site.vision_on_vllm:
        return told
    # The two vLLMs are those that keep off each other's cards; Ollama looks at what is free before it loads.
    vision = site.ollama.vision
    sees = {
        "unit": VLLM_VISION, "key": "vllm_vision.gpus", "gpus": list(site.vllm_vision.gpus),
        "least": site.vllm_vision.tensor_parallel_size,
    }  # fmt: skip
    services.insert(1, sees)
    services.append({"unit": OLLAMA_EMBED, "key": "ollama.vision.gpus", "gpus": list(vision.gpus), "least": 1})
    return told | {"pair": [VLLM, VLLM_VISION], "shared": vllms_share_a_card(site)}


def reserve(site: Site) -> dict[str, object] | None:
    """What limits vision on a shared card; None without a budget for it, in Phase 1, or where the operator gave a number."""
    vision, fixed = site.ollama.vision, site.vllm.kv_cache_memory
    if (
        site.phase != 2
        or site.vision_on_vllm
        or not shares_a_card(site)
        or vision.memory is None
        or vision.gpu_overhead_bytes
        or fixed
    ):
        return None
    return {
        "vllm_fraction": site.vllm.gpu_memory_utilization,
        "vision_bytes": size_of(vision.memory),
        "driver_bytes": DRIVER_BYTES + CONTEXT_BYTES,
    }
