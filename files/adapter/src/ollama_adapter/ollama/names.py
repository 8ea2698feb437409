"""Model names: `[host/][namespace/]model[:tag]`, as Ollama reads and prints them.

Two names mean one model when their keys are equal: host, namespace and tag have defaults, and look-up ignores case.
Source: ollama-api 2.3 (types/model/name.go of Ollama 0.33).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}")
_MODEL_OR_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")


class InvalidName(ValueError):
    """The text is not a model name."""


@dataclass(frozen=True)
class ModelName:
    """A name with all four parts filled in."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> str:
        """Equal for two names of one model."""
        return self.full.lower()

    @property
    def full(self) -> str:
        """All four parts, as in the messages about a missing capability."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def display(self) -> str:
        """The shortest form with the tag, as in listings: `llama2:latest`, `org/m:latest`, `hf.co/org/m:q4`."""
        if self.host.lower() != DEFAULT_HOST:
            return self.full
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"


@lru_cache(maxsize=1024)
def parse(text: str) -> ModelName:
    """Read a model name.

    :raises InvalidName: a part has a character that it must not have, is empty, or is too long.
    """
    rest = text.strip().rpartition("://")[2]
    tag = DEFAULT_TAG
    head, colon, tail = rest.rpartition(":")
    if colon and "/" not in tail:
        rest, tag = head, tail
    parts = rest.split("/")
    if len(parts) > 3:
        raise InvalidName(text)
    host, namespace, model = [DEFAULT_HOST, DEFAULT_NAMESPACE, ""][: 3 - len(parts)] + parts
    if not (
        _HOST.fullmatch(host)
        and _NAMESPACE.fullmatch(namespace)
        and _MODEL_OR_TAG.fullmatch(model)
        and _MODEL_OR_TAG.fullmatch(tag)
    ):
        raise InvalidName(text)
    return ModelName(host, namespace, model, tag)
