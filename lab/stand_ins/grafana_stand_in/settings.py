"""grafana.ini as Grafana reads it: over the release's conf/defaults.ini, with `$__file{}` and `$__env{}` filled in."""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from pathlib import Path

EXPANDED = re.compile(r"\$__(file|env)\{([^}]*)\}")


class SettingsError(Exception):
    """A file that cannot be read, or a value that cannot be."""


@dataclass(frozen=True)
class Settings:
    """What the stand-in heeds."""

    data: Path
    provisioning: Path
    address: str
    port: int
    admin_user: str
    admin_password: str
    anonymous: bool
    home: Path | None


def read(config: Path, homepath: Path) -> Settings:
    """The settings of a server. Raises SettingsError."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    for file in (homepath / "conf" / "defaults.ini", config):
        try:
            parser.read_string(file.read_text(encoding="utf-8"), str(file))
        except (OSError, configparser.Error) as problem:
            raise SettingsError(f"failed to parse {file}: {problem}") from None

    def value(section: str, key: str) -> str:
        return EXPANDED.sub(_expanded, parser.get(section, key, fallback="")).strip()

    try:
        port = int(value("server", "http_port"))
    except ValueError:
        raise SettingsError(f"server.http_port: {value('server', 'http_port')!r} is no port") from None
    home = value("dashboards", "default_home_dashboard_path")
    return Settings(
        data=homepath / value("paths", "data"),
        provisioning=homepath / value("paths", "provisioning"),
        address=value("server", "http_addr") or "0.0.0.0",
        port=port,
        admin_user=value("security", "admin_user"),
        admin_password=value("security", "admin_password"),
        anonymous=value("auth.anonymous", "enabled") == "true",
        home=Path(home) if home else None,
    )


def _expanded(found: re.Match[str]) -> str:
    kind, argument = found.groups()
    if kind == "env":
        return os.environ.get(argument, "")
    try:
        return Path(argument).read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise SettingsError(f"could not expand $__file{{{argument}}}: {problem}") from None
