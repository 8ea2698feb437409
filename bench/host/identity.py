"""Which model a target serves, as far as it tells, and whether two are alike. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIELDS = ("family", "parameters", "quantisation", "context")


@dataclass(frozen=True)
class Identity:
    """A model. Empty, or 0: the target does not tell."""

    name: str
    aliases: tuple[str, ...] = ()  # other names of the same weights: a repository, a path's last part
    family: str = ""
    parameters: str = ""
    quantisation: str = ""
    context: int = 0

    @property
    def called(self) -> str:
        """All its names, for people."""
        return " alias ".join((self.name, *self.aliases))

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Identity:
        """From the results of a run, as JSON has it."""
        return cls(**{**raw, "aliases": tuple(raw["aliases"])})


def of_ollama(name: str, shown: Mapping[str, Any]) -> Identity:
    """From the answer of /api/show."""
    details = shown.get("details")
    details = details if isinstance(details, dict) else {}
    info = shown.get("model_info")
    info = info if isinstance(info, dict) else {}
    context = info.get(f"{info.get('general.architecture', '')}.context_length")
    parent = str(details.get("parent_model") or "")
    return Identity(
        name,
        tuple(filter(None, (_last(parent),))),
        _told(details.get("family")),
        _told(details.get("parameter_size")).upper(),
        _told(details.get("quantization_level")).upper(),
        context if isinstance(context, int) else 0,
    )


def of_openai(entry: Mapping[str, Any]) -> Identity:
    """From an entry of /v1/models. vLLM tells neither family, parameters nor quantisation."""
    context = entry.get("max_model_len")
    return Identity(
        str(entry.get("id", "")),
        tuple(filter(None, (_last(str(entry.get("root") or "")),))),
        context=context if isinstance(context, int) else 0,
    )


def differences(identities: Mapping[str, Identity], is_one_model: bool = False) -> list[str]:
    """What speaks against comparing these targets, a sentence each; nothing where they are shown to be alike.

    Names are labels, so they differ only where no name or alias is shared. A field that one of two does not tell is no
    difference by itself.

    :param is_one_model: the operator says that the names are those of one model; only what else they tell is compared.
    """
    found = []
    targets = list(identities)
    for number, one in enumerate(targets):
        for other in targets[number + 1 :]:
            found += _between(one, identities[one], other, identities[other], is_one_model)
    return found


def chosen(names: Sequence[str], wanted: str) -> str:
    """The model to ask for: the wanted one, or the only one.

    :raises LookupError: there is none; the text says what there is.
    """
    if wanted in names or f"{wanted}:latest" in names:
        return wanted
    if len(names) == 1:
        return names[0]
    raise LookupError(f"it serves {', '.join(names) or 'no model that generates text'}, not {wanted!r}")


def _between(one: str, first: Identity, other: str, second: Identity, is_one_model: bool) -> list[str]:
    found = []
    if not is_one_model and not _names(first) & _names(second):
        found.append(f"name: {one} serves {first.called}, {other} serves {second.called}")
    for field in FIELDS:
        here, there = getattr(first, field), getattr(second, field)
        if here and there and here != there:
            found.append(f"{field}: {one} has {here}, {other} has {there}")
    return found


def _names(identity: Identity) -> set[str]:
    return {name.lower().removesuffix(":latest") for name in (identity.name, *identity.aliases)}


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "" if text == "unknown" else text


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
