"""What listens where: the Python index, release archives and apt repositories on one port, the two others beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lab.mirror.hub import Hub
from lab.mirror.ollama_registry import OllamaRegistry
from lab.mirror.python_index import PythonIndex
from lab.mirror.replies import Reply, Request, Site, file, inside, not_found, text


@dataclass(frozen=True)
class Ports:
    """One port per site; 0 takes a free one."""

    files: int = 8780
    hub: int = 8781
    registry: int = 8782


@dataclass(frozen=True)
class Content:
    """The folders a mirror serves; what is None or empty answers 404."""

    wheels: tuple[Path, ...] = field(default_factory=tuple)
    models: Path | None = None
    releases: Path | None = None
    apt: Path | None = None
    ollama_models: Path | None = None
    grafana: Path | None = None
    docker: Path | None = None  # not there before somebody asks for it, see docker_site

    def to_json(self) -> str:
        """As text that `from_json` reads; equal contents give equal text."""
        return json.dumps(asdict(self), default=str, sort_keys=True)

    @classmethod
    def from_json(cls, written: str) -> Content:
        """What `to_json` wrote. Raises KeyError or ValueError for anything else."""
        values = json.loads(written)
        wheels = tuple(Path(folder) for folder in values.pop("wheels"))
        names = {known.name for known in fields(cls)} - {"wheels"}
        return cls(wheels=wheels, **{name: Path(values[name]) if values[name] else None for name in names})


@dataclass(frozen=True)
class Files:
    """`/simple/` and `/wheels/`, `/ollama/releases/download/`, `/grafana/release/`, `/apt/`, `/docker/`."""

    content: Content
    name: str = "files"

    def answer(self, request: Request) -> Reply:
        """Hand the path to the part it belongs to; `/` tells what there is, for a person with curl."""
        path = request.path
        if path == "/":
            return text(200, "mirror of the lab: /simple/ /ollama/releases/download/ /grafana/release/ /apt/ /docker/")
        if path.startswith(("/simple", "/wheels/")):
            return PythonIndex(self.content.wheels).answer(request)
        folders = {
            "/ollama/releases/download/": self.content.releases,
            "/grafana/release/": self.content.grafana,
            "/apt/": self.content.apt,
            "/docker/": self.content.docker,
        }
        for prefix, folder in folders.items():
            if path.startswith(prefix) and folder is not None:
                found = inside(folder, path.removeprefix(prefix))
                return file(found, content_type="application/octet-stream") if found else not_found(path)
        return not_found(path)


def sites(content: Content) -> dict[str, Site]:
    """The three sites by name, in the order of `Ports`."""
    return {"files": Files(content), "hub": Hub(content.models), "registry": OllamaRegistry(content.ollama_models)}
