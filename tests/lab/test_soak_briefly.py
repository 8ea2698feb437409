"""The soak of half an hour (`python -m tests.soak`) in about a minute, on a deployed host: nothing is lost, all is told."""

from __future__ import annotations

import pytest

from lab import Host
from lab.progress import to_stderr
from tests.soak.promises import are_kept, promises
from tests.soak.soak import Plan, run
from tests.soak.targets import LabTarget

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def test_under_load_with_vllm_killed_and_the_adapter_restarted_no_request_is_lost_that_was_not_told_so(
    served: tuple[Host, Host],
) -> None:
    # A busy machine answers slowly and starts vLLM slowly: the run is then longer, the promises are the same.
    plan = Plan(minutes=0.75, rate=3, vllm_restarts=("kill",), restarts_adapter=True, hang_s=300)
    result = run(LabTarget(served[0]), plan, to_stderr())
    assert are_kept(result), "\n".join(f"{one.is_kept}: {one.sentence}: {one.detail}" for one in promises(result))
