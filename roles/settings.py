"""What every role's settings share: a strict, frozen model, and errors that name the key and its nearest match."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

Data = dict[str, Any]
Model = TypeVar("Model", bound="Settings")
# A card by its UUID, a MIG device by its own, or a card by its index.
GpuName = Annotated[str, StringConstraints(pattern=r"^((GPU|MIG)-[\w/-]+|0|[1-9]\d?)$")]


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after loading, text is stripped."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, validate_default=True)


class SettingsError(Exception):
    """Everything that is wrong with one host's settings; `problems` holds one "key: cause" line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def reachable_address(listening: str) -> str:
    """Where a program of the same host reaches a server that listens on `listening` (an IPv4 address)."""
    return "127.0.0.1" if listening == "0.0.0.0" else listening


def is_everywhere(address: str) -> bool:
    """Whether it is the wildcard. Go's servers, Ollama among them, take the one of IPv6 for 0.0.0.0, and serve both."""
    return address in ("0.0.0.0", "::", "0000:0000:0000:0000:0000:0000:0000:0000")


def unknown_setting(key: str, known: Collection[str]) -> str:
    """The message for a key nobody reads. `known` are full dotted keys of the same section."""
    by_name = {
        name.rpartition(".")[2]: name for name in known
    }  # the section is right: it must not make all names alike
    near = get_close_matches(key.rpartition(".")[2], by_name, n=1)
    if near:
        return f"{key}: unknown setting; did you mean {by_name[near[0]]}?"
    return f"{key}: unknown setting; known: {', '.join(sorted(known))}"


def validate(model: type[Model], data: Mapping[str, Any]) -> tuple[Model, list[str]]:
    """The settings that `data` gives, and every problem found on the way.

    A key with a problem falls back to its default, so that the checks that follow can still look at all the others.
    """
    problems: list[str] = []
    current: Data = dict(data)
    while True:
        try:
            return model.model_validate(current), problems
        except ValidationError as error:
            for detail in error.errors():
                problems.append(_problem(model, detail))
                current = _without(current, detail["loc"])


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Data:
    """`over` on top of `base`, dictionaries key by key; neither argument is changed."""
    merged: Data = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def nest(flat: Mapping[str, Any]) -> Data:
    """`{"vllm.port": 1}` becomes `{"vllm": {"port": 1}}`; keys without a dot stay as they are."""
    nested: Data = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        branch: Data = {last: value}
        for section in reversed(sections):
            branch = {section: branch}
        nested = merge(nested, branch)
    return nested


def dotted(loc: tuple[int | str, ...]) -> str:
    """pydantic's location as an operator writes it: `ollama.vision.models[1]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def fields_at(model: type[BaseModel], sections: tuple[int | str, ...]) -> list[str]:
    """Full dotted names of the fields of the section that `sections` leads to."""
    for section in sections:
        if isinstance(section, int):  # an element of a list: the list's step has led to its model
            continue
        annotation: Any = model.model_fields[section].annotation
        if get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [dotted((*sections, name)) for name in model.model_fields]


def _problem(model: type[BaseModel], detail: ErrorDetails) -> str:
    key = dotted(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return unknown_setting(key, fields_at(model, detail["loc"][:-1]))
    text = detail["msg"].removeprefix("Value error, ")
    # Where the place of a secret belongs, somebody may have put the secret.
    secret = any(word in str(part) for part in detail["loc"] for word in ("token", "password"))
    shown = "" if secret else f", not {detail['input']!r}"
    return f"{key}: {text[:1].lower()}{text[1:]}{shown}"


def _without(data: Data, loc: tuple[int | str, ...]) -> Data:
    """`data` without the key that `loc` names; an element of a list takes the whole list with it."""
    head, rest = loc[0], loc[1:]
    below = data.get(str(head))
    if rest and isinstance(below, Mapping) and str(rest[0]) in below:
        return {**data, str(head): _without(dict(below), rest)}
    return {key: value for key, value in data.items() if key != head}
