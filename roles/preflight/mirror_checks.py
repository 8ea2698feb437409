"""Judgements on what a host would fetch: are the mirrors there, do the checksums agree, may the token read the model.

`questions` says which URLs to ask, for what is missing only; `mirror_findings` judges the answers. Pure; no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from roles.apt_repositories import cuda_repository, docker_repository, toolkit_key
from roles.distribution import KEYRINGS, archives
from roles.facts.survey import Answer, ModelSeen, Question
from roles.layout import grafana_archive, ollama_version, vllm_build
from roles.model_names import PUBLIC, registry_place
from roles.ollama_archive import published_sha256, wanted_sha256
from roles.pins import pins
from roles.preflight.findings import Finding, error, note
from roles.preflight.needs import Needs
from roles.site import Site

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
Answers = Mapping[str, Answer]


def questions(
    site: Site, missing: Needs, token: str | None, os: str, os_version: str, codename: str, docker_present: bool
) -> list[Question]:
    """The URLs whose answers decide whether the deploy could finish; none at all on a complete host."""
    asked: list[Question] = []
    mirrors = site.mirrors
    if missing.distribution_source and mirrors.distribution and os in KEYRINGS:
        for archive in archives(os, codename):
            release = f"{mirrors.distribution.rstrip('/')}/{archive.folder}/dists/{archive.suites[0]}/InRelease"
            asked.append(Question(f"distribution:{archive.folder}", release, method="HEAD"))
    if missing.python_packages and mirrors.python_index:
        asked.append(Question("index", f"{mirrors.python_index.rstrip('/')}/uv/"))
    if missing.vllm and site.gpu == "none":
        for number, index in enumerate(_torch_indexes(site)):
            asked.append(Question(f"torch-{number}", f"{index.rstrip('/')}/torch/"))
    if missing.ollama:
        release = f"{mirrors.ollama_releases.rstrip('/')}/v{ollama_version(site)}"
        asked.append(Question("ollama-sums", f"{release}/sha256sum.txt"))
        asked.append(Question("ollama-archive", f"{release}/{pins().ollama.archive}", method="HEAD"))
    if missing.grafana:
        grafana = f"{mirrors.grafana_releases.rstrip('/')}/{grafana_archive(site).path}"
        asked.append(Question("grafana-archive", grafana, method="HEAD"))
    for name in sorted({*missing.text_models, *missing.vision_models}):
        registry, path, tag = registry_place(name)
        base = mirrors.ollama_registry.rstrip("/") if registry == PUBLIC else f"https://{registry}"
        url = f"{base}/v2/{path}/manifests/{tag}"
        asked.append(Question(f"registry:{name}", url, accept=MANIFEST))
    if missing.model:
        hub, model = mirrors.hub.rstrip("/"), quote(site.vllm.model)
        if site.model_revision is None:
            asked.append(Question("hub", f"{hub}/api/models/{model}", token))
        else:
            asked.append(Question("hub", f"{hub}/api/models/{model}/revision/{site.model_revision}?blobs=true", token))
            asked.append(Question("hub-file", f"{hub}/{model}/resolve/{site.model_revision}/config.json", token))
    if site.docker.source == "docker" and not docker_present:
        asked.append(Question("docker", f"{docker_repository(site, os)}/dists/{codename}/InRelease", method="HEAD"))
    if site.gpu == "nvidia" and missing.toolkit_source:
        asked.append(Question("toolkit", toolkit_key(site), method="HEAD"))
    if site.gpu == "nvidia" and missing.driver_source:
        asked.append(Question("cuda", f"{cuda_repository(site, os, os_version)}/InRelease", method="HEAD"))
    return asked


def model_sizes(answers: Answers) -> dict[str, int]:
    """Bytes to download, as the mirrors tell: "model" for the text model, by name for Ollama's. Unknown ones are left out."""
    sizes: dict[str, int] = {}
    for name, answer in answers.items():
        content = _json(answer)
        if name == "hub" and (files := content.get("siblings")):
            names = [str(file.get("rfilename", "")) for file in files]
            safe = any(n.endswith(".safetensors") for n in names)
            sizes["model"] = sum(
                int(file.get("size") or 0)
                for file in files
                if not (safe and str(file.get("rfilename", "")).endswith((".bin", ".pth", ".pt", ".gguf")))
            )
        elif name.startswith("registry:") and "layers" in content:
            sizes[name.removeprefix("registry:")] = sum(int(layer.get("size", 0)) for layer in content["layers"])
    return sizes


def model_on_hub(answers: Answers) -> ModelSeen | None:
    """The text model as the hub tells it; None where it was not asked, or did not answer."""
    hub, config = answers.get("hub"), answers.get("hub-file")
    if hub is None or config is None or config.status != 200:
        return None
    files = _json(hub).get("siblings") or []
    return ModelSeen(config.text, {str(file.get("rfilename", "")): int(file.get("size") or 0) for file in files})


def mirror_findings(site: Site, missing: Needs, answers: Answers, has_token: bool) -> list[Finding]:
    """Everything the mirrors said that a deploy would run into later."""
    found = [
        *_unavailable(answers, "index", "mirrors.python_index", "the package index"),
        *_torch(site, missing, answers),
        *_ollama_archive(site, answers),
        *_unavailable(answers, "grafana-archive", _grafana_key(site), "Grafana's release archive"),
        *_registry(answers),
        *(
            finding
            for name in answers
            if name.startswith("distribution:")
            for finding in _unavailable(answers, name, "mirrors.distribution", f"the {name.partition(':')[2]} archive")
        ),
        *_unavailable(answers, "docker", "mirrors.docker", "Docker's repository"),
        *_unavailable(answers, "toolkit", "mirrors.container_toolkit", "NVIDIA's container toolkit"),
        *_unavailable(answers, "cuda", "mirrors.cuda_repositories", "NVIDIA's driver repository"),
    ]
    if missing.model:
        found += _hub(site, answers, has_token)
    elif site.model_revision is None and site.prepares_phase_2:
        found.append(_no_revision(site, None))
    return found


def _torch_indexes(site: Site) -> list[str]:
    return [url for url in (site.mirrors.python_index, site.mirrors.torch_cpu_index) if url]


def _torch(site: Site, missing: Needs, answers: Answers) -> Iterator[Finding]:
    if not (missing.vllm and site.gpu == "none"):
        return
    build = vllm_build(site)
    version = next(
        line.split()[0].split("==")[1] for line in build.lock_text.splitlines() if line.startswith("torch==")
    )
    tag = f"cp{build.python.replace('.', '')}"
    asked = [answers[name] for name in sorted(answers) if name.startswith("torch-")]
    if not any(f"torch-{written}-{tag}" in a.text for a in asked for written in (version, version.replace("+", "%2B"))):
        seen = "; ".join(f"{a.url} {a.seen if a.status != 200 else 'has other versions'}" for a in asked)
        yield error(
            "mirrors.torch_cpu_index",
            f"no torch {version} for Python {build.python}: {seen or 'no index was asked'}",
            "set mirrors.torch_cpu_index to an index that has it",
        )


def _ollama_archive(site: Site, answers: Answers) -> Iterator[Finding]:
    if "ollama-sums" not in answers:
        return
    key = "ollama.version" if site.ollama.version else "mirrors.ollama_releases"
    for name, what in (("ollama-sums", "the release's checksums"), ("ollama-archive", "the release archive")):
        yield from _unavailable(answers, name, key, what)
    published = published_sha256(answers["ollama-sums"].text)
    is_pin = site.ollama.sha256 is None
    wanted = wanted_sha256(site)
    if answers["ollama-sums"].status == 200 and published is None:
        yield error(
            key,
            f"{answers['ollama-sums'].url} names no {pins().ollama.archive}",
            f"correct {key}: curl {answers['ollama-sums'].url} shows what it has",
        )
    elif published and wanted and published != wanted:
        yield error(
            "roles/pins.toml [ollama] sha256" if is_pin else "ollama.sha256",
            f"{wanted[:12]}… is not the checksum of the release, which is {published[:12]}… says {answers['ollama-sums'].url}",
            "the archive may have been replaced: compare both with the page of the release before you change ollama.sha256",
        )


def _grafana_key(site: Site) -> str:
    return "monitoring.grafana.version" if site.monitoring.grafana.version else "mirrors.grafana_releases"


def _registry(answers: Answers) -> Iterator[Finding]:
    for name, answer in answers.items():
        if name.startswith("registry:") and answer.status != 200:
            model = name.removeprefix("registry:")
            known = answer.status == 404
            yield error(
                "ollama models" if known else "mirrors.ollama_registry",
                f"{model}: {answer.url} {answer.seen}",
                "the registry has no such model: correct its name in ollama.text.models or ollama.vision.models"
                if known
                else f"curl -I {answer.url} on the host; correct mirrors.ollama_registry",
            )


def _unavailable(answers: Answers, name: str, key: str, what: str) -> Iterator[Finding]:
    answer = answers.get(name)
    if answer and answer.status != 200:
        yield error(key, f"{what}: {answer.url} {answer.seen}", f"curl -I {answer.url} on the host; correct {key}")


def _hub(site: Site, answers: Answers, has_token: bool) -> list[Finding]:
    """The model's repository: is it there, may we read it, does it have the revision."""
    hub, file = answers.get("hub"), answers.get("hub-file")
    if hub is None:
        return []
    page = f"{site.mirrors.hub.rstrip('/')}/{site.vllm.model}"
    worst = next((answer for answer in (hub, file) if answer and answer.status != 200), None)
    if worst is None:
        if site.model_revision is None:
            return [_no_revision(site, str(_json(hub).get("sha", "")))]
        return [note("vllm.model", f"{site.vllm.model} at {site.model_revision[:12]} is readable")]
    code = worst.headers.get("x-error-code", "")
    decide: dict[str, Callable[[], Finding]] = {
        "GatedRepo": lambda: error(
            "vllm.model",
            f"{site.vllm.model} is gated and {'this token has no access' if has_token else 'no token was given'} "
            f"({worst.url} {worst.seen})",
            f"ask for access on {page}, then: {site.vllm.hub_token.remedy('hf_…')}"
            if not has_token
            else f"ask for access on {page} with the account of this token",
        ),
        "RepoNotFound": lambda: error(
            "vllm.model",
            f"the hub has no {site.vllm.model} that we may see",
            f"correct vllm.model; for a private one: {site.vllm.hub_token.remedy('hf_…')}",
        ),
        "RevisionNotFound": lambda: error(
            "vllm.model_revision",
            f"{site.vllm.model} has no revision {site.model_revision}",
            f"set vllm.model_revision to a commit of {page}",
        ),
    }
    if code in decide:
        return [decide[code]()]
    if worst.status == 401:
        return [
            error(
                "hub token",
                f"the hub refuses it ({worst.url} {worst.seen})",
                f"take a token that is valid: {site.vllm.hub_token.remedy('hf_…')}",
            )
        ]
    return [error("mirrors.hub", f"{worst.url} {worst.seen}", f"curl -I {worst.url} on the host; correct mirrors.hub")]


def _no_revision(site: Site, newest: str | None) -> Finding:
    commit = f'set vllm = {{"model_revision": "{newest}"}}, the newest of today'
    remedy = commit if newest else "set vllm.model_revision to a commit of the repository"
    return error(
        "vllm.model_revision", f"{site.vllm.model} has no pinned revision, so two deploys could differ", remedy
    )


def _json(answer: Answer) -> dict[str, Any]:
    try:
        content = json.loads(answer.text) if answer.status == 200 else {}
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}
