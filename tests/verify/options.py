"""Options that `python -m tests.verify` and `pytest tests/verify` have in common, as argparse and pytest take them."""

from __future__ import annotations

from typing import Any

SHARED: dict[str, dict[str, Any]] = {
    "--limit": {"action": "append", "default": [], "help": "only hosts that match: name, glob or group"},
    "--data": {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "as for pyinfra --data"},
    "--quick": {"action": "store_true", "help": "without the checks that are slow or ask a model for something"},
    "--journal-window": {
        "default": "5m", "metavar": "TIME", "help": "no errors in the journals for so long (5m); 0: not asked"
    },
}  # fmt: skip
