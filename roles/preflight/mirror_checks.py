"""Judgements on what a host would fetch: are the mirrors there, do the checksums agree, may the token read the model.

`questions` says which URLs to ask, for what is missing only; `mirror_findings` judges the answers. Pure; no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
    for one in hub_models(site):
        asked += one.questions(site.mirrors.hub, token) if is_missing(one, missing) else []
    if site.docker.source == "docker" and not docker_present:
        asked.append(Question("docker", f"{docker_repository(site, os)}/dists/{codename}/InRelease", method="HEAD"))
    if site.gpu == "nvidia" and missing.toolkit_source:
        asked.append(Question("toolkit", toolkit_key(site), method="HEAD"))
    if site.gpu == "nvidia" and missing.driver_source:
        asked.append(Question("cuda", f"{cuda_repository(site, os, os_version)}/InRelease", method="HEAD"))
    return asked


@dataclass(frozen=True)
class HubModel:
    """A model of vLLM that is to be downloaded. `name`: of what the hub is asked about it. `key`: its section of the settings."""

    name: str
    key: str
    repository: str
    revision: str | None

    def questions(self, hub: str, token: str | None) -> list[Question]:
        """Is it there, does it have the revision, may we read its files."""
        base, model = hub.rstrip("/"), quote(self.repository)
        if self.revision is None:
            return [Question(self.name, f"{base}/api/models/{model}", token)]
        info = f"{base}/api/models/{model}/revision/{self.revision}?blobs=true"
        file = f"{base}/{model}/resolve/{self.revision}/config.json"
        return [Question(self.name, info, token), Question(f"{self.name}-file", file, token)]


def hub_models(site: Site) -> list[HubModel]:
    """The models of vLLM that this host is to have."""
    text = HubModel("hub", "vllm", site.vllm.model, site.model_revision)
    vision = HubModel("hub-vision", "vllm_vision", site.vllm_vision.model, site.vision_model_revision)
    return [*([text] if site.prepares_phase_2 else []), *([vision] if site.vision_on_vllm else [])]


def is_missing(model: HubModel, missing: Needs) -> bool:
    """Whether the host does not have it yet."""
    return missing.model if model.key == "vllm" else missing.vision_model


def model_sizes(answers: Answers) -> dict[str, int]:
    """Bytes to download, as the mirrors tell: "model" and "vision-model" for vLLM's, by name for Ollama's; none where unknown."""
    sizes: dict[str, int] = {}
    for name, answer in answers.items():
        content = _json(answer)
        if name in ("hub", "hub-vision") and (files := content.get("siblings")):
            names = [str(file.get("rfilename", "")) for file in files]
            safe = any(n.endswith(".safetensors") for n in names)
            sizes["model" if name == "hub" else "vision-model"] = sum(
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
    for one in hub_models(site):
        if is_missing(one, missing):
            found += _hub(site, one, answers, has_token)
        elif one.revision is None:
            found.append(_no_revision(one, None))
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


def _hub(site: Site, model: HubModel, answers: Answers, has_token: bool) -> list[Finding]:
    """The model's repository: is it there, may we read it, does it have the revision, does it see where it should."""
    hub, file = answers.get(model.name), answers.get(f"{model.name}-file")
    if hub is None:
        return []
    key, page = f"{model.key}.model", f"{site.mirrors.hub.rstrip('/')}/{model.repository}"
    worst = next((answer for answer in (hub, file) if answer and answer.status != 200), None)
    if worst is None:
        if model.revision is None:
            return [_no_revision(model, str(_json(hub).get("sha", "")))]
        readable = note(key, f"{model.repository} at {model.revision[:12]} is readable")
        return [readable, *(_without_eyes(site, model, file) if file and model.key == "vllm_vision" else ())]
    code = worst.headers.get("x-error-code", "")
    decide: dict[str, Callable[[], Finding]] = {
        "GatedRepo": lambda: error(
            key,
            f"{model.repository} is gated and {'this token has no access' if has_token else 'no token was given'} "
            f"({worst.url} {worst.seen})",
            f"ask for access on {page}, then: {site.vllm.hub_token.remedy('hf_…')}"
            if not has_token
            else f"ask for access on {page} with the account of this token",
        ),
        "RepoNotFound": lambda: error(
            key,
            f"the hub has no {model.repository} that we may see",
            f"correct {key}; for a private one: {site.vllm.hub_token.remedy('hf_…')}",
        ),
        "RevisionNotFound": lambda: error(
            f"{key}_revision",
            f"{model.repository} has no revision {model.revision}",
            f"set {key}_revision to a commit of {page}",
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


def _without_eyes(site: Site, model: HubModel, file: Answer) -> Iterator[Finding]:
    """A text model where one that sees is wanted would load, and answer no picture."""
    configuration = _json(file)
    if configuration and "vision_config" not in configuration and "vision" not in site.vllm_vision.capabilities:
        yield error(
            f"{model.key}.model",
            f"{model.repository} sees no pictures: its config.json has no part for them (vision_config)",
            f"set {model.key}.model to a vision-language or OCR model; where it is one all the same, "
            f'set {model.key}.capabilities to ["completion", "vision"]',
        )


def _no_revision(model: HubModel, newest: str | None) -> Finding:
    key = f"{model.key}.model_revision"
    commit = f'set {model.key} = {{"model_revision": "{newest}"}}, the newest of today'
    remedy = commit if newest else f"set {key} to a commit of the repository"
    return error(key, f"{model.repository} has no pinned revision, so two deploys could differ", remedy)


def _json(answer: Answer) -> dict[str, Any]:
    try:
        content = json.loads(answer.text) if answer.status == 200 else {}
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}
