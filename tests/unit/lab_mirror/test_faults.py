"""Each fault does what its name says, for as long as it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.mirror.faults import FILE, FaultError, parse, write

from .conftest import WEIGHTS, Served

ARCHIVE = "/ollama/releases/download/v1/archive.tar.zst"


def test_a_status_replaces_the_answer_below_its_path_only(served: Served) -> None:
    served.spoil({"path": "/ollama/", "status": 503})
    assert served.ask("files", ARCHIVE).status == 503
    assert served.ask("files", "/simple/").status == 200


def test_a_truncated_answer_looks_complete(served: Served) -> None:
    served.spoil({"path": ARCHIVE, "truncate_after": 1000})
    answer = served.ask("files", ARCHIVE)
    assert (answer.status, answer.body, answer.is_whole) == (200, WEIGHTS[:1000], True)


def test_a_closed_connection_breaks_the_promise_of_its_length(served: Served) -> None:
    served.spoil({"path": ARCHIVE, "close_after": 1000})
    answer = served.ask("files", ARCHIVE)
    assert (answer.headers["Content-Length"], answer.body) == (str(len(WEIGHTS)), WEIGHTS[:1000])
    assert not answer.is_whole


def test_a_connection_closed_in_a_range_counts_from_the_start_of_the_range(served: Served) -> None:
    served.spoil({"path": ARCHIVE, "close_after": 10})
    assert served.ask("files", ARCHIVE, Range="bytes=500-").body == WEIGHTS[500:510]


@pytest.mark.parametrize("start", [0, 300_000])
def test_one_byte_is_corrupt_whichever_range_holds_it(served: Served, start: int) -> None:
    served.spoil({"path": ARCHIVE, "corrupt_at": 300_001})
    body = served.ask("files", ARCHIVE, Range=f"bytes={start}-").body
    wrong = [start + at for at, pair in enumerate(zip(body, WEIGHTS[start:], strict=True)) if pair[0] != pair[1]]
    assert wrong == [300_001]


def test_a_fault_for_one_time_is_over_after_it(served: Served) -> None:
    served.spoil({"path": ARCHIVE, "status": 500, "times": 1})
    assert [served.ask("files", ARCHIVE).status for _ in range(3)] == [500, 200, 200]


def test_writing_the_faults_again_starts_the_count_again(served: Served) -> None:
    for _ in range(2):
        served.spoil({"path": ARCHIVE, "status": 500, "times": 1})
        assert [served.ask("files", ARCHIVE).status for _ in range(2)] == [500, 200]


def test_site_and_method_narrow_a_fault_down(served: Served) -> None:
    served.spoil({"path": "/", "site": "hub", "method": "HEAD", "status": 500})
    assert served.ask("files", "/simple/", "HEAD").status == 200
    assert served.ask("hub", "/lab/tiny/resolve/main/config.json").status == 200
    assert served.ask("hub", "/lab/tiny/resolve/main/config.json", "HEAD").status == 500


def test_a_slow_answer_arrives_whole(served: Served) -> None:
    served.spoil({"path": ARCHIVE, "bytes_per_s": 5_000_000, "delay_s": 0.01})
    assert served.ask("files", ARCHIVE).body == WEIGHTS


def test_without_entries_the_file_is_gone(served: Served) -> None:
    served.spoil({"path": "/", "status": 500})
    served.spoil()
    assert served.ask("files", ARCHIVE).status == 200
    assert not (served.state / FILE).exists()


def test_a_wrong_file_fails_every_request_and_says_why(served: Served) -> None:
    (served.state / FILE).write_text("[{]")
    answer = served.ask("files", ARCHIVE)
    assert answer.status == 500
    assert b"faults.json: not JSON" in answer.body


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "expected a list, got dict"),
        ('[{"status": 500}]', "entry 0 is no object with a path"),
        ('[{"path": "/", "statuss": 500}]', "unknown 'statuss'; known: bytes_per_s"),
    ],
)
def test_a_complaint_names_the_entry_and_the_key(text: str, complaint: str) -> None:
    with pytest.raises(FaultError, match=complaint):
        parse(text)


def test_wrong_entries_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(FaultError):
        write(tmp_path, [{"nothing": 1}])
    assert list(tmp_path.iterdir()) == []
