"""The dashboards. What is deployed are the JSON files; they are made of the descriptions beside them:

    python -m roles.monitoring.dashboards

The windows of all rates are fixed (panels.WINDOW), so that each expression can be asked of any Prometheus as it stands.
"""

from __future__ import annotations

import json
from pathlib import Path

from roles.monitoring.dashboards import adapter, gpu, host, overview, vllm
from roles.monitoring.dashboards.panels import Json, document

PAGES = (overview.PAGE, vllm.PAGE, adapter.PAGE, gpu.PAGE, host.PAGE)
FOLDER = Path(__file__).resolve().parent


def files() -> dict[Path, str]:
    """Every dashboard's JSON file and what it holds."""
    return {FOLDER / f"{page.name}.json": text(document(page, PAGES)) for page in PAGES}


def text(dashboard: Json) -> str:
    """JSON with a line for each panel, so that a change shows which one it is."""
    head = json.dumps({key: value for key, value in dashboard.items() if key != "panels"}, indent=1)
    panels = ",\n".join(f"  {json.dumps(panel)}" for panel in dashboard["panels"])
    return f'{head[:-2]},\n "panels": [\n{panels}\n ]\n}}\n'
