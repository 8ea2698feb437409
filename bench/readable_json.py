"""Results as JSON that can be compared line by line. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dumped(results: Mapping[str, Any], many: str) -> str:
    """JSON whose list `many` has a line for each of its entries, so that a difference can be read; it comes last."""
    lines = ",\n".join("  " + json.dumps(one) for one in results[many])
    rest = json.dumps({name: value for name, value in results.items() if name != many}, indent=1)
    return f'{rest[:-2]},\n "{many}": [\n{lines}\n ]\n}}\n'
