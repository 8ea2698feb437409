"""Ollama's release archive, and models of its registry, blob by blob."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import CHECK, Web
from bundle.needs import OllamaRelease
from roles.model_names import PUBLIC, registry_place
from roles.ollama_archive import published_sha256
from roles.pins import pins

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def plan_releases(releases: Sequence[OllamaRelease], base: str, web: Web) -> Iterator[Artefact]:
    """Archive and checksums of each release. Raises BundleError where its list does not name the archive."""
    archive = pins().ollama.archive
    for release in releases:
        url = f"{base.rstrip('/')}/v{release.version}"
        sums = web.get(f"{url}/sha256sum.txt")
        published = published_sha256(sums.text)
        if published is None:
            raise BundleError(f"{url}/sha256sum.txt", f"names no {archive}", "is ollama.version right?")
        if release.sha256 and release.sha256 != published:
            raise BundleError(
                "ollama.sha256", f"{release.sha256} is not the checksum of the release, which is {published}",
                "find out which one is right before you change it: the archive may have been replaced",
            )  # fmt: skip
        yield Artefact(f"ollama-releases/v{release.version}/sha256sum.txt", content=sums.content)
        yield Artefact(f"ollama-releases/v{release.version}/{archive}", f"{url}/{archive}", sha256s=(published,))


def plan_models(models: Sequence[str], registry: str, web: Web) -> Iterator[Artefact]:
    """Manifest and blobs of each model; a blob that two share comes once. Raises BundleError."""
    seen: set[str] = set()
    for name in models:
        host, owner, tag = registry_place(name)
        if host != PUBLIC:
            raise BundleError(
                "ollama models", f"{name} is of {host}; a bundle has models of {PUBLIC}", "take another model"
            )
        url = f"{registry.rstrip('/')}/v2/{owner}"
        answer = web.ask(f"{url}/manifests/{tag}", accept=MANIFEST_TYPE)
        if answer.status_code == 404:
            raise BundleError("ollama models", f"the registry has no {name} ({url}/manifests/{tag})", "check its name")
        if answer.status_code != 200:
            raise BundleError(f"{url}/manifests/{tag}", f"answered {answer.status_code}", CHECK)
        try:
            parts = blobs(answer.text)
        except (ValueError, KeyError, TypeError):
            raise BundleError(
                str(answer.url), "answered something that is no manifest", "is that the right server?"
            ) from None
        yield Artefact(f"v2/{owner}/manifests/{tag}", content=answer.content)
        for digest, size in parts:
            # The registry's colon is no good name on every file system.
            file = f"v2/{owner}/blobs/{digest.replace(':', '-')}"
            if file not in seen:
                seen.add(file)
                yield Artefact(file, f"{url}/blobs/{digest}", sha256s=(digest.partition(":")[2],), size=size)


def blobs(manifest: str) -> list[tuple[str, int]]:
    """(digest, bytes) of the configuration and every layer."""
    content = json.loads(manifest)
    return [(one["digest"], one["size"]) for one in (content["config"], *content["layers"])]
