"""Grafana's release archives. Their checksums are pinned, so nothing has to be asked for before they are fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundle.artefacts import Artefact
from roles.layout import GrafanaArchive


def plan(archives: Sequence[GrafanaArchive], base: str) -> Iterator[Artefact]:
    """Each archive below `base`, as the hosts ask for it."""
    for one in archives:
        yield Artefact(f"grafana-releases/{one.path}", f"{base.rstrip('/')}/{one.path}", sha256s=(one.sha256,))
