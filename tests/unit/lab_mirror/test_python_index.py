"""The Python index, read as pip reads it, and by pip."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.mirror.python_index import normalise
from lab.mirror.sites import Content

from .conftest import Served


@pytest.mark.parametrize("name", ["Lab.Sample", "lab_sample", "LAB--sample", "lab-sample"])
def test_names_are_compared_as_pep_503_says(name: str) -> None:
    assert normalise(name) == "lab-sample"


def test_the_root_lists_normalised_projects(served: Served) -> None:
    page = served.ask("files", "/simple/").body.decode()
    assert re.findall(r'<a href="([^"]+)">', page) == ["lab-other/", "lab-sample/"]


@pytest.mark.parametrize("path", ["/simple/Lab.Sample/", "/simple/lab-sample"])
def test_another_spelling_is_sent_to_the_page(served: Served, path: str) -> None:
    answer = served.ask("files", path)
    assert (answer.status, answer.headers["Location"]) == (301, "/simple/lab-sample/")


def test_a_link_leads_to_the_wheel_and_carries_its_hash(served: Served, content: Content) -> None:
    page = served.ask("files", "/simple/lab-sample/").body.decode()
    found = re.search(r'href="(?P<path>[^"#]+)#sha256=(?P<hash>[0-9a-f]{64})"', page)
    assert found
    wheel = served.ask("files", found["path"])
    assert hashlib.sha256(wheel.body).hexdigest() == found["hash"]
    assert wheel.body == (content.wheels[0] / "Lab.Sample-1.0-py3-none-any.whl").read_bytes()


def test_the_metadata_beside_a_wheel_has_the_hash_of_the_page(served: Served) -> None:
    page = served.ask("files", "/simple/lab-sample/").body.decode()
    found = re.search(r'href="([^"#]+)#.*data-core-metadata="sha256=([0-9a-f]{64})"', page)
    assert found
    metadata = served.ask("files", f"{found[1]}.metadata").body
    assert b"Name: Lab.Sample" in metadata
    assert hashlib.sha256(metadata).hexdigest() == found[2]


def test_pip_installs_from_it_and_refuses_a_wrong_hash(served: Served, content: Content, tmp_path: Path) -> None:
    wheel = (content.wheels[0] / "Lab.Sample-1.0-py3-none-any.whl").read_bytes()
    index = f"{served.url('files')}/simple/"

    def pip(digest: str) -> subprocess.CompletedProcess[str]:
        lock = tmp_path / "lock"
        lock.write_text(f"Lab.Sample==1.0 --hash=sha256:{digest}\n")
        target = str(tmp_path / "target")
        command = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", target, "-r", str(lock)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        environment = clean | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_RETRIES": "0"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    wrong = pip("0" * 64)
    assert wrong.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in wrong.stderr
    assert pip(hashlib.sha256(wheel).hexdigest()).returncode == 0
    assert (tmp_path / "target" / "lab_sample.py").read_text() == "VERSION = '1.0'\n"
