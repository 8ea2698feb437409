"""How diagnoses are put in order and told."""

from __future__ import annotations

import json

import pytest

from roles.doctor import notes, reason_unknown
from roles.doctor.diagnosis import SUMMARY, Diagnosis, Told, as_json, in_order, judged, report
from roles.preflight.findings import error
from roles.telling import exit_status, summary
from tests.unit.doctor.cases import WELL, found


def made(name: str, certainty: str = "certain", follows: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis(name, certainty, f"{name} it is", ("seen",), "mend it", follows)  # type: ignore[arg-type]


def test_a_host_that_is_well_has_no_diagnosis_and_no_note() -> None:
    assert found(WELL) == {}
    assert list(notes(WELL)) == []
    assert judged("gpu-01", [], []).verdict == "well"


@pytest.mark.parametrize("field", ["evidence", "remedy"])
def test_a_diagnosis_without_evidence_or_remedy_cannot_be_made(field: str) -> None:
    words = {"evidence": ("seen",), "remedy": "mend it", field: ("",) if field == "evidence" else " "}
    with pytest.raises(ValueError, match=f"no {field} for x"):
        Diagnosis("x", "certain", "x it is", **words)  # type: ignore[arg-type]


def test_causes_come_before_what_follows_from_them_and_the_certain_before_the_possible() -> None:
    effect, cause, guess = made("effect", follows=("cause",)), made("cause", "likely"), made("guess", "possible")
    assert [one.name for one in in_order([effect, guess, cause, effect])] == ["cause", "guess", "effect"]
    assert [one.name for one in in_order([guess, effect])] == ["effect", "guess"]


def test_people_read_cause_evidence_and_command_and_machines_the_same() -> None:
    many = Diagnosis("x", "likely", "x it is", tuple(f"line {n}" for n in range(9)), "mend it")
    told = judged("gpu-01", [many], ["look twice"])
    said = report(told).splitlines()
    assert said[:3] == ["gpu-01: 1 likely cause", "  1. x it is  (likely: x)", "       line 0"]
    assert said[-3:] == ["       … 3 more", "     -> mend it", "  note: look twice"]
    line = json.loads(as_json(told))
    assert (line["verdict"], line["diagnoses"][0]["evidence"][8], line["notes"]) == ("ill", "line 8", ["look twice"])
    assert set(line["diagnoses"][0]) == {"name", "certainty", "cause", "evidence", "remedy"}


@pytest.mark.parametrize(
    ("verdicts", "status", "last"),
    [
        (["well", "well"], 0, "doctor: 2 well"),
        (["well", "ill"], 3, "doctor: 1 well, 1 with a likely cause"),
        (["ill", "unknown"], 1, "doctor: 0 well, 1 with a likely cause, 1 unknown"),
    ],
)
def test_the_status_is_right_for_all_hosts(verdicts: list[str], status: int, last: str) -> None:
    told = [Told(f"host-{number}", verdict) for number, verdict in enumerate(verdicts)]  # type: ignore[arg-type]
    assert exit_status(told, "well") == status
    assert summary("doctor", told, SUMMARY) == last


def test_a_host_of_which_nothing_can_be_said_has_a_reason_and_no_diagnosis() -> None:
    assert reason_unknown(lost=False, settings_problems=(), readable=True) == ""
    assert "connection was lost" in reason_unknown(lost=True, settings_problems=(), readable=False)
    assert "vllm.prot" in reason_unknown(
        lost=False, settings_problems=[error("vllm.prot", "unknown", "correct it")], readable=False
    )
    assert "_sudo" in reason_unknown(lost=False, settings_problems=(), readable=True, uid=1000)
    reason = reason_unknown(lost=False, settings_problems=(), readable=False)
    assert report(judged("gpu-01", [made("x")], [], reason)) == f"gpu-01: unknown: {reason}"
