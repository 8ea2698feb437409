"""A model of the hub at one revision: what its API says, as it says it, and the files that a host fetches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx

from bundle.artefacts import Artefact
from bundle.errors import BundleError
from bundle.fetching import CHECK, Web, json_of
from bundle.needs import HubModel
from roles.secret_sources import SecretError, read_secret

# As in roles/vllm/host/fetch-model; a test holds the two lists together.
OTHER_FORMATS = ("*.bin", "*.pth", "*.pt", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*", "onnx/*")
INFO, TREE = "info.json", "tree.json"


def folder(repository: str, revision: str) -> str:
    """Where a revision lies in the bundle."""
    return f"hub/{repository}/{revision}"


def wanted_files(tree: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that a host fetches: not the weights in other formats, where there are safetensors."""
    files = [entry for entry in tree if entry["type"] == "file"]
    skip = OTHER_FORMATS if any(entry["path"].endswith(".safetensors") for entry in files) else ()
    return [one for one in files if not any(PurePath(one["path"]).match(pattern) for pattern in skip)]


def plan(models: Sequence[HubModel], endpoint: str, web: Web) -> Iterator[Artefact]:
    """Every file of the models. Raises BundleError where the hub refuses, or a model has no pinned revision."""
    for model in models:
        if not model.revision:
            raise BundleError(
                "vllm.model_revision", f"{model.repository} has no pinned revision",
                "pyinfra inventory preflight.py --dry prints the one to pin; or see its history on the hub",
            )  # fmt: skip
        try:
            token = read_secret(model.token)
        except SecretError as problem:
            raise BundleError(problem.key, problem.cause, problem.remedy) from None
        yield from _model(model, endpoint.rstrip("/"), token, web)


def _model(model: HubModel, endpoint: str, token: str | None, web: Web) -> Iterator[Artefact]:
    api = f"{endpoint}/api/models/{quote(model.repository)}"
    answer = web.ask(f"{api}/revision/{model.revision}?blobs=true", token)
    _refuse(model, endpoint, answer, token)
    base = folder(model.repository, model.revision)
    tree = listing(f"{api}/tree/{model.revision}?recursive=true&expand=false", token, web)
    _refuse(
        model, endpoint, web.ask(_resolve(model, endpoint, "config.json"), token), token
    )  # gated: listed, not readable
    yield Artefact(f"{base}/{INFO}", content=answer.content)
    yield Artefact(f"{base}/{TREE}", content=json.dumps(tree).encode())
    for entry in wanted_files(tree):
        large = entry.get("lfs")
        yield Artefact(
            f"{base}/files/{entry['path']}",
            _resolve(model, endpoint, entry["path"]),
            sha256s=(large["oid"],) if large else (),
            git_id="" if large else entry["oid"],
            size=entry["size"],
            token=token,
        )


def listing(url: str, token: str | None, web: Web) -> list[dict[str, Any]]:
    """All pages of a listing; the hub names the next one in its Link header."""
    entries: list[dict[str, Any]] = []
    following: str | None = url
    while following:
        # The link is the hub's word: another server that it names gets no token.
        answer = web.get(following, token if _origin(following) == _origin(url) else None)
        entries += json_of(answer)
        link = answer.links.get("next", {}).get("url")
        following = urljoin(following, link) if link else None
    return entries


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _resolve(model: HubModel, endpoint: str, path: str) -> str:
    return f"{endpoint}/{quote(model.repository)}/resolve/{model.revision}/{quote(path)}"


def _refuse(model: HubModel, endpoint: str, answer: httpx.Response, token: str | None) -> None:
    """Raises BundleError for anything but 200, in the words that the hub's own code means."""
    if answer.status_code == 200:
        return
    page = f"{endpoint}/{model.repository}"
    code = answer.headers.get("x-error-code", "")
    give = model.token.remedy("hf_…")
    if code == "GatedRepo":
        cause = "this token has no access" if token else "no token was given"
        remedy = (
            f"ask for access on {page}, then: {give}"
            if not token
            else f"ask for access on {page} with the account of this token"
        )
        raise BundleError("vllm.model", f"{model.repository} is gated and {cause}", remedy)
    if code == "RevisionNotFound":
        raise BundleError("vllm.model_revision", f"{model.repository} has no revision {model.revision}", f"see {page}")
    if code == "RepoNotFound":
        raise BundleError(
            "vllm.model",
            f"the hub has no {model.repository} that we may see",
            f"check the name; if it is private: {give}",
        )
    raise BundleError(str(answer.url), f"answered {answer.status_code}", f"is the token good? {CHECK}")
