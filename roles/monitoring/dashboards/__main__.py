"""Write the JSON files of the dashboards."""

from __future__ import annotations

from roles.monitoring.dashboards import files

for path, text in files().items():
    path.write_text(text, encoding="utf-8")
