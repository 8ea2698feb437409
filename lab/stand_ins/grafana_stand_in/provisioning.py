"""Data sources and dashboards from the provisioning directory. Files are read anew when asked, as the real one looks again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class ProvisioningError(Exception):
    """A file that Grafana would refuse; it then does not start."""


@dataclass(frozen=True)
class Source:
    """A data source: a Prometheus."""

    uid: str
    name: str
    url: str
    interval_s: float
    is_default: bool


@dataclass(frozen=True)
class Dashboard:
    """A dashboard, as its file has it. folder: of its provider."""

    content: dict[str, Any]
    folder: str

    @property
    def uid(self) -> str:
        return str(self.content["uid"])


def sources(provisioning: Path) -> list[Source]:
    """Every data source. Raises ProvisioningError."""
    found = []
    for file, one in _entries(provisioning / "datasources", "datasources"):
        if one.get("type") != "prometheus":
            raise ProvisioningError(f"{file}: the stand-in has no data source of type {one.get('type')!r}")
        try:
            interval = str(one.get("jsonData", {}).get("timeInterval", "15s"))
            found.append(
                Source(one["uid"], one["name"], one["url"], float(interval.rstrip("s")), one.get("isDefault", False))
            )
        except (KeyError, ValueError) as problem:
            raise ProvisioningError(f"{file}: {problem!r}") from None
    if len({one.uid for one in found}) < len(found) or sum(one.is_default for one in found) > 1:
        raise ProvisioningError("data source provisioning error: two of one uid, or two defaults")
    return found


def dashboards(provisioning: Path) -> list[Dashboard]:
    """Every dashboard of every provider. Raises ProvisioningError."""
    found: list[Dashboard] = []
    for file, provider in _entries(provisioning / "dashboards", "providers"):
        folder = Path(str(provider.get("options", {}).get("path", "")))
        if not folder.is_dir():
            raise ProvisioningError(f"{file}: {folder} is no directory")
        for path in sorted(folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                found.append(Dashboard({**content, "uid": content["uid"]}, str(provider.get("folder", ""))))
            except (ValueError, KeyError, TypeError) as problem:
                raise ProvisioningError(f"{path}: {problem!r}") from None
    if len({one.uid for one in found}) < len(found):
        raise ProvisioningError("the same UID is used more than once")
    return found


def _entries(folder: Path, key: str) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            if content["apiVersion"] != 1:
                raise ValueError("apiVersion is not 1")
            found += [(file, one) for one in content[key]]
        except (yaml.YAMLError, ValueError, KeyError, TypeError) as problem:
            raise ProvisioningError(f"{file}: {problem!r}") from None
    return found
