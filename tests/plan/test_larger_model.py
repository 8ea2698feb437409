"""The guide's next step, a model of 13 billion parameters: what preflight prints of it is what docs/operations.md shows.

After a change that is meant: APPROVE=1 pytest tests/plan/test_larger_model.py; git diff docs
"""

from __future__ import annotations

import os
import re

from tests.fake_models import LLAMA_2_13B
from tests.plan.conftest import ROOT, Pyinfra
from tests.plan.fake_hosts import answers_with, fake_host
from tests.plan.fake_machines import A100_40, H100, L4, FakeCard, Machine
from tests.plan.scenarios import THIRTEEN

PAGE = ROOT / "docs" / "operations.md"
BLOCK = re.compile(r"(test_larger_model.py holds them together. -->\n```\n)(.*?)(```\n)", re.DOTALL)
CARDS: dict[str, FakeCard] = {"gpu-24gb": L4, "gpu-40gb": A100_40, "gpu-80gb": H100}


def test_the_page_shows_what_preflight_prints(pyinfra: Pyinfra) -> None:
    hosts = {
        name: fake_host(mirrors=answers_with(LLAMA_2_13B), machine=Machine((card,)).with_driver(), vllm=THIRTEEN)
        for name, card in CARDS.items()
    }
    run = pyinfra(hosts, "inventory", "preflight.py", "--dry", "-y")
    assert run.status == 1  # one host is refused
    told = ""
    for name in CARDS:
        report = re.search(rf"^@fake/({name}: .*\n(?:  .*\n)*(?:then: .*\n)?)", run.output, re.MULTILINE)
        assert report, run.output
        lines = report[1].splitlines(keepends=True)
        told += "".join(
            line for number, line in enumerate(lines) if not number or re.search(r"vLLM memory|^ +->|^then", line)
        )
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("APPROVE") == "1":
        page = BLOCK.sub(lambda found: found[1] + told + found[3], page)
        PAGE.write_text(page, encoding="utf-8")
    shown = BLOCK.search(page)
    assert shown
    assert shown[2] == told, "APPROVE=1, then read the page"
