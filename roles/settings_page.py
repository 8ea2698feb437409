"""docs/settings.md, made from the typed settings:  python -m roles.settings_page > docs/settings.md

A test holds the page and the settings together.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from roles.settings import Settings
from roles.site import ENVIRONMENT_NAMES, Site

HEAD = """\
# Settings

Made from the code by `make docs`; edit `roles/*/settings.py`, not this page.

A host's settings come from `inventory/`: a section is a dictionary (`vllm = {"max_model_len": 8192}`), in `group_data/all.py`, in
`group_data/<group>.py`, or beside the host's name in `hosts.py`. Later ones win, key by key. On the command line:
`--data vllm.max_model_len=8192`. An unknown key is refused with its nearest match, and every problem of a host is listed at once.

Secrets are not settings: the hub token is read on the controller from the variable `HF_TOKEN` (or the file that
`vllm.hub_token_file` names, or what the command `vllm.hub_token_command` prints) and reaches the service as a systemd credential.
So does the token of the adapter's clients, from `OLLAMA_ADAPTER_TOKEN`, `adapter.token_file` or `adapter.token_command`, if
`adapter.require_token` is set, and the password of Grafana's `admin`, from `GRAFANA_ADMIN_PASSWORD`,
`monitoring.grafana.password_file` or `monitoring.grafana.password_command`, with `monitoring.stack`. Which one decides, and
what refuses a host: [secrets](operations.md#secrets).

## Names of the original system

The environment names of the original guide are accepted in the inventory, after `--data`, and in the environment of the person
who deploys. Where inventory and environment disagree, the deploy is refused.

| name | sets | default | range |
|---|---|---|---|
"""


def page() -> str:
    """The whole page as Markdown."""
    by_key = {key: field for key, field, _ in fields(Site)}
    lines = [HEAD.rstrip("\n")]
    for name, key in ENVIRONMENT_NAMES.items():
        default = {"consumers.ollama_url": "the adapter", "consumers.vision_ollama_url": "the vision server"}.get(key)
        lines.append(f"| `{name}` | `{key}` | {default or value(by_key[key])} | {allowed(by_key[key])} |")
    section = None
    for key, field, owner in fields(Site):
        if owner is not section:
            section = owner
            title = key.rpartition(".")[0]
            lines += ["", f"## {f'`{title}`' if title else 'The host'}", ""]
            lines += ["| key | default | allowed | meaning |", "|---|---|---|---|"]
        lines.append(f"| `{key}` | {value(field)} | {allowed(field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def fields(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo, type[Settings]]]:
    """Every setting with its dotted key and the section it is in; a section's own keys come before its sub-sections."""
    sections = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            sections.append((name, field.annotation))
            continue
        yield f"{prefix}{name}", field, model
        if element := element_of(field):
            sections.append((f"{name}[]", element))
    for name, section in sections:
        yield from fields(section, f"{prefix}{name}.")


def element_of(field: FieldInfo) -> type[Settings] | None:
    """The section that each element of a list is, if it is one."""
    first = next(iter(get_args(field.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, Settings) else None


def value(field: FieldInfo) -> str:
    """The default as an operator would write it."""
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None or default == "":
        return "–"
    if isinstance(default, tuple):
        return ", ".join(f"`{getattr(item, 'name', item)}`" for item in default) or "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def allowed(field: FieldInfo) -> str:
    """Type and limits in words."""
    annotation = field.annotation
    options = [kind for kind in get_args(annotation) if kind is not NoneType]
    if get_origin(annotation) in (Union, UnionType):
        annotation = options[0]
    if element_of(field):
        return "list of sections"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{option}`" for option in get_args(annotation))
    limits = {
        name: getattr(rule, name) for rule in field.metadata for name in ("gt", "ge", "lt", "le") if hasattr(rule, name)
    }
    if limits:
        low = f"> {limits['gt']}" if "gt" in limits else f"{limits.get('ge', '')}"
        return f"{low} … {limits['le']}" if "le" in limits else f"{low} or more"
    words: dict[Any, str] = {str: "text", bool: "`true` or `false`", int: "number", float: "number"}
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), None)
    if pattern and "https?" in pattern:
        return "URL"
    return words.get(annotation, "list of texts")


if __name__ == "__main__":
    print(page(), end="")
