"""Model names as Ollama reads them: [host/][namespace/]model[:tag]."""

from __future__ import annotations

import re
from dataclasses import dataclass

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
SPACE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
HOST_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")


class InvalidName(ValueError):
    """The text is no model name."""


@dataclass(frozen=True)
class Name:
    """A model's full name. Equality ignores nothing; look-ups on disk do, see `store`."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """With every part written out, as some error texts have it."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def display(self) -> str:
        """The shortest form that still has the tag, as listings show it."""
        if self.host != HOST:
            return self.full
        prefix = "" if self.namespace == NAMESPACE else f"{self.namespace}/"
        return f"{prefix}{self.model}:{self.tag}"

    @property
    def path(self) -> str:
        """Where the manifest lies below `manifests/`."""
        return f"{self.host}/{self.namespace}/{self.model}/{self.tag}"


def parse(text: str) -> Name:
    """The name with its defaults filled in. A scheme in front is dropped. Raises InvalidName."""
    text = re.sub(r"^[a-z]+://", "", text.strip())
    *front, last = text.split("/")
    model, colon, tag = last.partition(":")
    if len(front) > 2:
        raise InvalidName(text)
    host = front[0] if len(front) == 2 else HOST
    namespace = front[-1] if front else NAMESPACE
    tag = tag if colon else TAG
    fits = PART.fullmatch(model) and PART.fullmatch(tag) and SPACE_PART.fullmatch(namespace)
    if not fits or not HOST_PART.fullmatch(host):
        raise InvalidName(text)
    return Name(host, namespace, model, tag)
