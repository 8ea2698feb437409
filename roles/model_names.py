"""Model names as Ollama reads them. Source: the name grammar of ollama/ollama, types/model/name.go (v0.33)."""

from __future__ import annotations

import re

_PART = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$")


def canonical(name: str) -> str:
    """The one spelling of all names that mean the same model: `llama2`, `LLAMA2:latest`, `library/llama2` -> `llama2:latest`.

    Raises ValueError for text that Ollama would refuse with "invalid model name".
    """
    head, slash, last = name.strip().rpartition("/")
    model, _, tag = last.partition(":")
    path = f"{head}{slash}{model}"
    parts = path.split("/")
    if parts[0] == "registry.ollama.ai":
        parts = parts[1:]
    if parts[0] == "library" and len(parts) == 2:
        parts = parts[1:]
    tag = tag or "latest"
    if not all(_PART.match(part) for part in (*parts, tag)):
        raise ValueError(f"{name!r} is no model name")
    return f"{'/'.join(parts)}:{tag}".lower()


PUBLIC = "registry.ollama.ai"


def registry_place(name: str) -> tuple[str, str, str]:
    """(host, path, tag) of a model at its registry and on disk, as it is spelled: `Q4_K_M` is not `q4_k_m` there.

    `llama3.2` -> ("registry.ollama.ai", "library/llama3.2", "latest"). Raises ValueError for text that is no name.
    """
    canonical(name)
    head, slash, last = name.strip().rpartition("/")
    model, _, tag = last.partition(":")
    parts = f"{head}{slash}{model}".split("/")
    host = parts.pop(0) if len(parts) == 3 else PUBLIC
    return host, "/".join(parts if len(parts) == 2 else ["library", *parts]), tag or "latest"


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they are. Raises ValueError when one is no name, or two mean the same model to a client."""
    seen: dict[str, str] = {}
    for name in names:
        if (first := seen.setdefault(canonical(name), name)) is not name:
            raise ValueError(f"{name!r} and {first!r} are the same name to a client; keep one")
    return names
