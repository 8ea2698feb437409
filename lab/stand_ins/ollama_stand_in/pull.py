"""`pull`: fetch manifest and blobs from a registry, resume what was begun, check every digest."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .names import Name
from .store import Store, digests_of

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CHUNK_BYTES = 256 * 1024
TIMEOUT_S = 30.0
ATTEMPTS = 6  # as Ollama's maxRetries


class PullError(RuntimeError):
    """What Ollama says when a pull fails."""


def pull(store: Store, name: Name, *, insecure: bool) -> Iterator[dict[str, object]]:
    """Progress objects, last `success`; unused layers of the replaced manifest are removed. Raises PullError."""
    # Ollama speaks https unless told `insecure`, whatever scheme the name has (recording pull_insecure_http).
    base = f"{'http' if insecure else 'https'}://{name.host}/v2/{name.namespace}/{name.model}"
    old = store.find(name)
    yield {"status": "pulling manifest"}
    content = _manifest(f"{base}/manifests/{name.tag}")
    try:
        manifest: dict[str, Any] = json.loads(content)
        layers = [*manifest["layers"], manifest["config"]]
    except (ValueError, KeyError, TypeError) as error:
        raise PullError(f"pull model manifest: {error}") from None
    for layer in layers:
        yield from _layer(store, base, layer["digest"], layer["size"])
    yield {"status": "verifying sha256 digest"}
    for layer in layers:
        path = store.blob(layer["digest"])
        found = _sha256(path)
        if f"sha256:{found}" != layer["digest"]:
            path.unlink()
            what = f"want {layer['digest']}, got sha256:{found}"
            raise PullError(f"digest mismatch, file must be downloaded again: {what}")
    yield {"status": "writing manifest"}
    store.write_manifest(name, content)
    if old is not None and (unused := digests_of(old.manifest) - digests_of(manifest)):
        yield {"status": "removing unused layers"}
        store.drop_unused(unused)
    yield {"status": "success"}


def _manifest(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": MANIFEST_TYPE})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise PullError("pull model manifest: file does not exist") from None
        raise PullError(f"pull model manifest: {error.code}: {error.read().decode(errors='replace').strip()}") from None
    except (OSError, http.client.HTTPException) as error:
        raise PullError(f'pull model manifest: Get "{url}": {_go_reason(error, url)}') from None


def _layer(store: Store, base: str, digest: str, size: int) -> Iterator[dict[str, object]]:
    progress: dict[str, object] = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
    target = store.blob(digest)
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}-partial")
        failures = 0
        while (begun := partial.stat().st_size if partial.exists() else 0) < size:
            yield {**progress, "completed": begun} if begun else progress
            try:
                for completed in _download(f"{base}/blobs/{digest}", partial, begun):
                    yield {**progress, "completed": completed}
            except (OSError, http.client.HTTPException) as error:
                # The count starts again when something arrived, so a slow link is not a failed one.
                failures = 0 if partial.exists() and partial.stat().st_size > begun else failures + 1
                if failures >= ATTEMPTS:
                    raise PullError(f"max retries exceeded: {_go_reason(error, base)}") from None
                time.sleep(0.1 * failures)
        partial.replace(target)
    yield {**progress, "completed": size}


def _download(url: str, partial: Path, begun: int) -> Iterator[int]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        is_resumed = answer.status == 206
        completed = begun if is_resumed else 0
        with partial.open("ab" if is_resumed else "wb") as stream:
            while piece := answer.read(CHUNK_BYTES):
                stream.write(piece)
                completed += len(piece)
                yield completed
    if completed == begun:
        raise OSError("unexpected EOF")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _go_reason(error: BaseException, url: str) -> str:
    """The error in the words of Go's network library, which users search for."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    host = url.split("/")[2]
    if isinstance(reason, socket.gaierror):
        return f"dial tcp: lookup {host.split(':')[0]}: no such host"
    if isinstance(reason, ConnectionRefusedError):
        return f"dial tcp {host}: connect: connection refused"
    if isinstance(reason, TimeoutError):
        return f"dial tcp {host}: i/o timeout"
    return str(reason) or "EOF"
