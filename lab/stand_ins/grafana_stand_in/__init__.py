"""Grafana, played: its command line, settings, provisioning and the part of its HTTP API and pages that the product uses.

It goes into the lab's release archive as one executable file (a zip application), and runs on lab hosts only, on Python 3.10
or newer. It reads the real grafana.ini, data sources and dashboards, asks the real Prometheus, and draws what these say: stat,
gauge, timeseries, table and row. Every page says that it is a stand-in. What it has not: editing, users, alerts, plugins,
queries of browsers (`/api/ds/query`); here the server draws.

Reading order: settings, database, provisioning, values (units, colours), asking, drawing, page, server, cli.
"""
