"""Text of configuration files and units: jinja2, strict about names, from the `templates/` folder of the calling role."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent / "templates"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["word"] = systemd_word
    environment.filters["toml"] = json.dumps  # TOML's strings, numbers, booleans and flat arrays are JSON's
    return environment


def render(role_file: str, template: str, **values: object) -> str:
    """The text of `templates/<template>` beside `role_file`. Raises jinja2.UndefinedError for a name without a value."""
    return _environment(Path(role_file).resolve().parent / "templates").get_template(template).render(**values)


def systemd_word(value: object) -> str:
    """One word of an Exec= or Environment= line. Source: systemd.service(5), "Command lines"; systemd.syntax(7)."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'
