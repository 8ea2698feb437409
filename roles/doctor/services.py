"""Diagnoses of the containers that use the host: whom they ask, whether they have their cards. A case in, diagnoses out."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from roles.consumer_variables import TEXT_URLS, VISION_URLS
from roles.doctor.case import Case
from roles.doctor.diagnosis import Diagnosis
from roles.doctor.symptoms import NO_SMI, Container
from roles.hidden import hidden_in_prose
from roles.layout import LIBEXEC

HOST_NAME = "host.docker.internal"
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
MANY_RESTARTS = 5
EVERYWHERE = ("", "0.0.0.0", "::")
OWN_NETWORK = "host"  # of a container that shares the host's
LOST = (
    "Failed to initialize NVML",
    "couldn't communicate with the NVIDIA driver",
    "No devices were found",
    "no answer within",
)


def service_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """Of every container that runs."""
    for container in case.seen.containers:
        yield from wrong_server(case, container)
        yield from lost_cards(case, container)
        yield from not_well(case, container)


def wrong_server(case: Case, container: Container) -> Iterator[Diagnosis]:
    """An address in its environment that is not where this host serves that."""
    text, vision = case.site.adapter.port, case.site.ollama.vision.port
    for name, url in container.variables.items():
        if not url:
            continue
        try:
            where = urlsplit(url if "://" in url else f"http://{url}")
            host, port = where.hostname or "", where.port or (443 if where.scheme == "https" else 80)
        except ValueError:
            host, port = HOST_NAME, 0
        wanted = vision if name in VISION_URLS else text
        problem = _problem(case, container, host, port, name)
        if problem:
            yield Diagnosis(
                "service-points-wrong",
                "likely",
                f"the container {container.name} asks the wrong server: {problem}",
                (hidden_in_prose(f"its environment: {name}={url}"),),
                _how_to_point(case, container, name, wanted),
            )


def _problem(case: Case, container: Container, host: str, port: int, name: str) -> str:
    """What is wrong with an address; "" for one of ours that a container reaches, and for servers elsewhere."""
    text, vision = case.site.adapter.port, case.site.ollama.vision.port
    if name == "OLLAMA_HOST" and host in EVERYWHERE:
        return ""  # where a server in it listens
    here = host in (HOST_NAME, *LOCAL) or host in case.seen.addresses
    ours = {text, vision, case.site.vllm.port}
    if host in LOCAL and container.network != OWN_NETWORK and port in ours:
        return f"in a container {host} is the container itself"
    if not here:
        return "vLLM's or an adapter's container of the old compose file" if host in ("vllm", "vllm-adapter") else ""
    if port == case.site.vllm.port:
        return f"port {port} is vLLM itself, which speaks OpenAI's API and listens on the host's loopback only"
    if name in VISION_URLS and port == text:
        return f"port {text} serves text; images and embeddings are on {vision}"
    if name in TEXT_URLS and port == vision:
        return f"port {vision} serves images and embeddings; text is on {text}"
    if port not in (text, vision):
        return f"this host serves Ollama's API on {text} and {vision}, not on {port}"
    own_names = container.network == OWN_NETWORK or container.network.startswith("container:")
    if host == HOST_NAME and not own_names and not any(one.startswith(HOST_NAME) for one in container.extra_hosts):
        return f"it does not know the name {HOST_NAME}"
    return ""


def _how_to_point(case: Case, container: Container, name: str, port: int) -> str:
    if case.site.consumers.project and any(one.name == container.service for one in case.site.consumers.services):
        return f"{case.deploy} points it back and starts it anew"
    service = container.service or container.name
    extra = f'extra_hosts: ["{HOST_NAME}:host-gateway"]'
    lines = f"{name}=http://{HOST_NAME}:{port} and {extra}"
    return f"in the compose file of {service}: {lines}; docker compose up -d {service} (consumers.project has a deploy do it)"


def lost_cards(case: Case, container: Container) -> Iterator[Diagnosis]:
    """A container that was given cards and sees none any more."""
    if not container.wants_cards or container.cards == NO_SMI:
        return
    if any(words in container.cards for words in LOST):
        yield Diagnosis(
            "container-lost-cards",
            "likely" if "no answer within" in container.cards else "certain",
            f"the container {container.name} has lost its cards, as after a daemon-reload or a driver's upgrade",
            (f"nvidia-smi -L in it: {container.cards[:150]}",),
            f"docker restart {container.name} on the host; where that does not help: {LIBEXEC}/container-cards cdi --check",
            follows=("driver-mismatch", "driver-not-loaded", "card-fault"),
        )


def not_well(case: Case, container: Container) -> Iterator[Diagnosis]:
    """A service of ours that fails its own health check, or is started again and again."""
    ours = any(name in container.variables for name in (*TEXT_URLS, *VISION_URLS))
    if ours and (container.health == "unhealthy" or container.restarts >= MANY_RESTARTS):
        state = container.health or "without a health check"
        yield Diagnosis(
            "service-not-well",
            "possible",
            f"the container {container.name}, which asks this host, is not well itself",
            (f"{state}, started again {container.restarts} times",),
            f"docker logs --tail 50 {container.name} on the host; what it asks here is checked above",
            follows=("service-points-wrong", "adapter-503", "adapter-down", "ollama-down"),
        )
