"""Mirrors on loopback with small content: everything here runs without a network."""

from __future__ import annotations

import http.client
import io
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from lab.mirror import faults, ollama_models, repositories
from lab.mirror.faults import FaultBook
from lab.mirror.ollama_models import LabModel
from lab.mirror.python_index import normalise
from lab.mirror.server import AccessLog, MirrorServer
from lab.mirror.sites import Content, sites

GATED, OPEN = "meta-llama/Llama-2-7b-chat-hf", "lab/tiny"
# Large enough for several writes, small enough for a fast test.
WEIGHTS = bytes(range(256)) * 2000


@dataclass(frozen=True)
class Answer:
    """What came back, read to the end of the connection if it was cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True


@dataclass
class Served:
    """Three sites on free ports, and the means to ask and to spoil them."""

    state: Path
    ports: Mapping[str, int]
    log: io.StringIO
    servers: Sequence[MirrorServer] = field(repr=False)

    def url(self, site: str) -> str:
        return f"http://127.0.0.1:{self.ports[site]}"

    def ask(self, site: str, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; underscores in header names stand for dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[site], timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            try:
                body, is_whole = answer.read(), True
            except http.client.IncompleteRead as cut:
                body, is_whole = cut.partial, False
            return Answer(answer.status, dict(answer.getheaders()), body, is_whole)
        finally:
            connection.close()

    def spoil(self, *entries: Mapping[str, object]) -> None:
        """Write faults.json; no entries remove it."""
        faults.write(self.state, entries)


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> Path:
    """A wheel that pip installs: one module and its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    module = normalise(name).replace("-", "_")
    distribution = name.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    path = folder / f"{distribution}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    root = tmp_path_factory.mktemp("content")
    for name in (GATED, OPEN):
        folder = root / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}\n')
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text("{}\n")
    repositories.write(root / "models", {GATED: True, OPEN: False})
    wheel(root / "wheels", "Lab.Sample", "1.0")
    wheel(root / "wheels", "lab-other", "2.0")
    (root / "releases" / "v1").mkdir(parents=True)
    (root / "releases" / "v1" / "archive.tar.zst").write_bytes(WEIGHTS)
    models = (*ollama_models.MODELS, *small_models())
    ollama_models.write(models, root / "registry", weights_bytes=300_000)
    return Content(
        wheels=(root / "wheels",),
        models=root / "models",
        releases=root / "releases",
        ollama_models=root / "registry",
    )


def small_models() -> tuple[LabModel, ...]:
    """Models under the names that the recordings use."""
    plain = LabModel("tiny", "latest", "llama", ("llama",), "947K", "F32", 2048, 384, "{{ .Prompt }}", {})
    embed = LabModel(
        "tinyembed", "latest", "llama", ("llama",), "947K", "F32", 2048, 384, "{{ .Prompt }}", {}, is_embedding=True
    )
    return plain, embed


def pulled(content: Content, models: Path) -> Path:
    """An OLLAMA_MODELS folder with everything of the registry, as after pulling it all."""
    assert content.ollama_models is not None
    shutil.copytree(content.ollama_models / "blobs", models / "blobs")
    library = models / "manifests" / "registry.ollama.ai" / "library"
    shutil.copytree(content.ollama_models / "manifests" / "library", library)
    return models


@contextmanager
def running(content: Content, state: Path) -> Iterator[Served]:
    """The three sites on free ports of loopback."""
    state.mkdir()
    book, stream = FaultBook(state), io.StringIO()
    named = sites(content)
    servers = [MirrorServer("127.0.0.1", 0, site, book, AccessLog(stream)) for site in named.values()]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    ports = {name: server.server_port for name, server in zip(named, servers, strict=True)}
    yield Served(state, ports, stream, servers)
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Content], Served]]:
    """Starts mirrors, as many as wanted, and stops them after the test."""
    with ExitStack() as stack:
        numbers = count()
        yield lambda content: stack.enter_context(running(content, tmp_path / f"state-{next(numbers)}"))


@pytest.fixture
def served(serve: Callable[[Content], Served], content: Content) -> Served:
    return serve(content)
