"""The pins: what is installed on every host unless a setting says otherwise. See pins.toml."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from pydantic import Field

from roles.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "files" / "locks"


class VllmPins(Settings):
    cuda: str
    cpu: str
    python: str
    python_cpu: str


class OllamaPins(Settings):
    version: str
    archive: str
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")


class GrafanaPins(Settings):
    version: str
    build: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ModelPin(Settings):
    """A model of the hub whose revision is known (40 hex digits of the repository's commit)."""

    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    gated: bool
    chat_template: bool
    family: str
    parameters: str


class NvidiaPins(Settings):
    branch: str
    toolkit: str
    toolkit_fingerprint: str
    fingerprints: dict[str, str]


class DockerPins(Settings):
    key_sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")
    fingerprint: str


class Pins(Settings):
    vllm: VllmPins
    ollama: OllamaPins
    grafana: GrafanaPins
    models: dict[str, ModelPin]
    nvidia: NvidiaPins
    docker: DockerPins


@cache
def pins() -> Pins:
    """The content of pins.toml. Raises pydantic's ValidationError when somebody broke the file."""
    return Pins.model_validate(tomllib.loads((ROOT / "roles" / "pins.toml").read_text(encoding="utf-8")))
