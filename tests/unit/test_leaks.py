"""The search for secrets in tests/lab finds them: a search that found nothing ever would pass every test."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.leaks import Watching, changed_since, forms, found_in, found_in_files

SECRET = "hf_a~secret?of-this.test"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "Bearer "])
@pytest.mark.parametrize("after", ["", "\n", '", "x"'])
def test_a_secret_is_found_in_every_form_whatever_stands_around_it(before: str, after: str) -> None:
    text = f"{before}{SECRET}{after}"
    for written in (
        text,
        text.encode().hex(),
        text.encode().hex().upper(),
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode(),
    ):
        assert found_in(f"<{written}>", [SECRET])
        assert not found_in(f"<{written}>", [SECRET[::-1]])


def test_a_checksum_is_found_with_and_without_the_end_of_the_line() -> None:
    for content in (SECRET, f"{SECRET}\n"):
        assert found_in(hashlib.sha256(content.encode()).hexdigest(), [SECRET])


def test_no_form_is_so_short_that_anything_holds_it() -> None:
    assert min(map(len, forms(SECRET).values())) >= len(SECRET)


def test_files_are_found_by_when_they_were_written_and_what_they_hold(tmp_path: Path) -> None:
    for name in ("old", "new", "a/new", "a/b/new", "left/new"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff" + SECRET.encode())
    os.utime(tmp_path / "old", (1, 1))
    (tmp_path / "other").touch()
    places = [*changed_since({tmp_path: 1}, time.time() - 60, [tmp_path / "left"]), tmp_path / "gone"]
    assert sorted(found_in_files(places, [SECRET])) == [f"plain: {tmp_path}/a/new", f"plain: {tmp_path}/new"]


def test_what_a_process_shows_is_seen_while_it_runs(tmp_path: Path) -> None:
    program = "import time; time.sleep(1)"
    with Watching(tmp_path / "seen") as watching:
        subprocess.run([sys.executable, "-c", program, SECRET], check=True)
        subprocess.run([sys.executable, "-c", program], env={"A": SECRET[::-1]}, check=True)
    assert found_in(watching.seen, [SECRET])
    assert found_in(watching.seen, [SECRET[::-1]])
