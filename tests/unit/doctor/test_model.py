"""Diagnoses of the model's way to the disk. The lines are those that fetch-model prints (tests/unit/test_fetch_model.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roles.doctor.case import Case
from roles.doctor.diagnosis import in_order
from roles.doctor.symptoms import Unit
from roles.layout import VLLM, VLLM_MODEL
from tests.unit.doctor.cases import DOWN, FAILED, NOW, RETRYING, UP, found, vllm_says, with_unit

LOADING = Unit("loaded", "activating", "start", "success", 0, 0, 4711, NOW - 600, NOW - 600)
MODEL = "meta-llama/Llama-2-7b-chat-hf"


def downloading(*said: str, unit: Unit = LOADING, ago: float = 3.0) -> Case:
    """vLLM waits for its model's unit, which says this."""
    return with_unit(VLLM_MODEL, unit, *said, case=vllm_says(unit=DOWN), ago=ago)


def test_a_download_tells_how_far_how_fast_and_how_long_still() -> None:
    names = found(downloading("1.20 of 13.48 GB, 40.1 MB/s, 6 min left", "3.37 of 13.48 GB, 42.7 MB/s, 4 min left"))
    assert names["model-downloading"].evidence == ("3.37 of 13.48 GB (25%), 42.7 MB/s, 4 min left",)
    assert "rollback.py -y --limit gpu-01" in names["model-downloading"].remedy
    assert next(iter(names)) == "model-downloading"
    assert "vllm-stopped" not in names, "it waits for the download"


@pytest.mark.parametrize(
    ("said", "ago", "evidence"),
    [
        ("3.37 of 13.48 GB, 0.0 MB/s, waiting for the hub", 3.0, "waiting for the hub"),
        ("3.37 of 13.48 GB, 9.0 MB/s, 4 min left", 240.0, "nothing new for 4 min"),
    ],
)
def test_a_download_that_stands_still(said: str, ago: float, evidence: str) -> None:
    assert evidence in found(downloading(said, ago=ago))["model-stalled"].evidence


@pytest.mark.parametrize(
    ("said", "name", "remedy"),
    [
        (f"{MODEL} at abc: https://hub/x answered 403", "hub-token", "export HF_TOKEN=hf_…"),
        (
            f"{MODEL} at abc: 401 Client Error. Cannot access gated repo for url https://hub/x.",
            "hub-token",
            "ask for access",
        ),
        (f"{MODEL} at abc: https://hub/x answered 404", "model-not-found", "vllm.model_revision"),
        (f"{MODEL} at abc: 404 Client Error. Revision Not Found for url: x.", "model-not-found", "vllm.model_revision"),
        (
            f"{MODEL}: <urlopen error [Errno -2] Name or service not known>; what came is kept",
            "hub-unreachable",
            "mirrors.hub",
        ),
        (f"{MODEL}: <urlopen error timed out>; what came is kept", "hub-unreachable", "curl -I https://huggingface.co"),
        (
            f"{MODEL}: <urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired "
            "(_ssl.c:992)>; what came is kept",
            "certificate",
            "update-ca-certificates",
        ),
    ],
)
def test_a_download_that_fails_says_why_and_what_to_do(said: str, name: str, remedy: str) -> None:
    names = found(downloading(said, unit=FAILED if "answered" in said else RETRYING))
    assert {"hub-token", "model-not-found", "hub-unreachable", "certificate"} & set(names) == {name}
    assert remedy in names[name].remedy
    assert names[name].evidence[0].startswith(f"vllm-model: {MODEL}")


def test_a_download_between_two_tries_is_not_told_as_one_that_runs() -> None:
    names = found(downloading("3.37 of 13.48 GB, 9.0 MB/s, 4 min left", unit=RETRYING))
    assert "model-downloading" not in names


def test_a_wrong_clock_comes_before_the_certificate_that_it_makes_invalid() -> None:
    expired = (
        "x: <urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid>"
    )
    case = replace(downloading(expired, unit=RETRYING), clock_ahead_s=-90_000.0)
    names = found(case)
    order = [one.name for one in in_order(names.values())]
    assert order.index("clock-skew") < order.index("certificate")


@pytest.mark.parametrize(
    "said",
    [
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    ],
)
def test_a_model_damaged_on_the_disk(said: str) -> None:
    one = found(vllm_says(said))["model-damaged"]
    assert "rm -r /var/lib/llm/hub/.complete" in one.remedy


def test_a_model_that_is_served_is_not_damaged_whatever_an_old_line_says() -> None:
    assert found(with_unit(VLLM, UP, "SafetensorError: Error while deserializing header")) == {}
    assert found(with_unit(VLLM_MODEL, DOWN, f"{MODEL} at abc: https://hub/x answered 403")) == {}
