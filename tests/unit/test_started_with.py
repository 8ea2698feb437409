"""The rule for restarts, and the record it rests on."""

from __future__ import annotations

from roles.started_with import inputs_of, inputs_text, reason_to_restart
from roles.unit_facts import parse_units


def test_equal_inputs_are_no_reason_to_restart() -> None:
    assert reason_to_restart({"unit": "a"}, {"unit": "a"}) is None


def test_a_service_without_a_good_start_on_record_is_restarted() -> None:
    assert reason_to_restart(None, {"unit": "a"}) == "no good start on record"


def test_changed_new_and_removed_inputs_are_all_named() -> None:
    reason = reason_to_restart({"unit": "a", "drop-in": "b"}, {"unit": "c", "release": "d"})
    assert reason == "changed since the last good start: drop-in, release, unit"


def test_inputs_do_not_depend_on_their_order() -> None:
    assert inputs_text(inputs_of(a="1", b="2")) == inputs_text(inputs_of(b="2", a="1"))


SHOWN = """Id=vllm.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
NRestarts=2
Result=success

Id=gone.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
NeedDaemonReload=no
NRestarts=0
Result=success
record /run/llm/started-with/vllm.service.json
{"unit": "9f2c"}
record /run/llm/started-with/gone.service.json
{"unit": "51aa"}""".splitlines()


def test_a_running_unit_has_the_inputs_it_was_started_with() -> None:
    state = parse_units(SHOWN)["vllm.service"]
    assert (state.runs, state.enabled, state.restarts, state.started_with) == (True, True, 2, {"unit": "9f2c"})


def test_a_record_of_a_unit_that_does_not_run_counts_nothing() -> None:
    state = parse_units(SHOWN)["gone.service"]
    assert (state.load, state.runs, state.started_with) == ("not-found", False, None)


def test_a_half_written_record_is_no_record() -> None:
    assert (
        parse_units([*SHOWN[:8], "record /run/llm/started-with/vllm.service.json", '{"uni'])[
            "vllm.service"
        ].started_with
        is None
    )
