"""`python -m lab.stand_ins.grafana_stand_in`, and the entry of the zip application."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
