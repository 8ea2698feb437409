"""The model hub: who may read what, in the hub's own codes and words, and downloads that can be continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.mirror import repositories
from lab.mirror.sites import Content

from .conftest import GATED, OPEN, WEIGHTS, Answer, Served

READER, STRANGER, NOBODY = "Bearer hf_lab_reader", "Bearer hf_lab_stranger", "Bearer hf_unknown"


def ask(served: Served, path: str, token: str = "", **headers: str) -> Answer:
    return served.ask("hub", path, **({"Authorization": token} if token else {}), **headers)


@pytest.fixture
def revision(content: Content) -> str:
    assert content.models is not None
    return repositories.read(content.models)[GATED].revision


def test_a_revision_is_forty_hex_digits_that_follow_from_the_contents(tmp_path: Path) -> None:
    def revision_of(folder: str, text: str) -> str:
        (tmp_path / folder / "a" / "b").mkdir(parents=True)
        (tmp_path / folder / "a" / "b" / "config.json").write_text(text)
        return repositories.write(tmp_path / folder, {"a/b": False})["a/b"].revision

    first = revision_of("first", "{}")
    assert revision_of("second", "{}") == first
    assert revision_of("third", "{ }") != first
    assert len(first) == 40
    assert set(first) <= set("0123456789abcdef")


def test_what_a_gated_repository_contains_is_public(served: Served, revision: str) -> None:
    info = json.loads(ask(served, f"/api/models/{GATED}/revision/main").body)
    assert (info["id"], info["sha"], info["gated"]) == (GATED, revision, "manual")
    assert json.loads(ask(served, f"/api/models/{OPEN}").body)["gated"] is False


def test_the_tree_has_sizes_and_git_names_and_sha256_for_weights(served: Served, revision: str) -> None:
    tree = {entry["path"]: entry for entry in json.loads(ask(served, f"/api/models/{GATED}/tree/{revision}").body)}
    assert sorted(tree) == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert tree["model.safetensors"]["size"] == len(WEIGHTS)
    assert tree["model.safetensors"]["lfs"]["oid"] == hashlib.sha256(WEIGHTS).hexdigest()
    # `printf '{}\n' | git hash-object --stdin`
    assert tree["1_Pooling/config.json"]["oid"] == "0967ef424bce6791893e9a57bb952f80fd536e93"
    assert "lfs" not in tree["config.json"]


@pytest.mark.parametrize("path", [f"/api/models/{GATED}/auth-check", f"/{GATED}/resolve/main/config.json"])
@pytest.mark.parametrize(
    ("token", "status", "code", "message"),
    [
        (
            "",
            401,
            "GatedRepo",
            f"Access to model {GATED} is restricted. You must have access to it and be authenticated",
        ),
        (STRANGER, 403, "GatedRepo", f"Access to model {GATED} is restricted and you are not in the authorized list."),
        (NOBODY, 401, None, "Invalid credentials in Authorization header"),
        (READER, 200, None, ""),
        (f"{READER}.4f1d", 200, None, ""),
        (f"{READER}4f1d", 401, None, "Invalid credentials in Authorization header"),
    ],
)
def test_files_of_a_gated_repository_are_for_its_readers(
    served: Served, path: str, token: str, status: int, code: str | None, message: str
) -> None:
    answer = ask(served, path, token)
    assert (answer.status, answer.headers.get("X-Error-Code")) == (status, code)
    assert answer.headers.get("X-Error-Message", "").startswith(message)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/models/lab/nothing", 404, "RepoNotFound"),
        ("/lab/nothing/resolve/main/config.json", 404, "RepoNotFound"),
        (f"/api/models/{OPEN}/revision/v9", 404, "RevisionNotFound"),
        (f"/api/models/{OPEN}/revision/refs%2Fpr%2F1", 404, "RevisionNotFound"),
        (f"/api/models/{OPEN}/tree/{'0' * 40}", 404, "RevisionNotFound"),
        (f"/{OPEN}/resolve/v9/config.json", 404, "RevisionNotFound"),
        (f"/{OPEN}/resolve/main/nothing.json", 404, "EntryNotFound"),
    ],
)
def test_what_is_missing_has_the_hubs_code(served: Served, path: str, status: int, code: str) -> None:
    answer = ask(served, path, READER)
    assert (answer.status, answer.headers["X-Error-Code"]) == (status, code)


def test_without_a_token_a_missing_repository_is_a_401(served: Served) -> None:
    answer = ask(served, "/api/models/lab/nothing")
    assert (answer.status, answer.headers["X-Error-Code"]) == (401, "RepoNotFound")


def test_whoami_knows_the_labs_tokens(served: Served) -> None:
    assert json.loads(ask(served, "/api/whoami-v2", READER).body)["name"] == "lab-reader"
    assert ask(served, "/api/whoami-v2", NOBODY).status == 401
    assert ask(served, "/api/whoami-v2").status == 401


def test_a_file_names_its_commit_and_weights_their_size_and_hash(served: Served, revision: str) -> None:
    answer = served.ask("hub", f"/{GATED}/resolve/main/model.safetensors", "HEAD", Authorization=READER)
    assert answer.headers["X-Repo-Commit"] == revision
    assert answer.headers["X-Linked-Size"] == answer.headers["Content-Length"] == str(len(WEIGHTS))
    assert answer.headers["X-Linked-Etag"] == answer.headers["ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'


def test_an_interrupted_download_goes_on_where_it_stopped(served: Served) -> None:
    path = f"/{OPEN}/resolve/main/model.safetensors"
    served.spoil({"path": path, "close_after": 1000, "times": 1})
    first = ask(served, path)
    rest = ask(served, path, Range=f"bytes={len(first.body)}-")
    assert (len(first.body), rest.status) == (1000, 206)
    assert first.body + rest.body == WEIGHTS


class TestWithTheRealLibrary:
    """The same exchanges, made by huggingface_hub itself where it is installed."""

    @pytest.fixture
    def library(self, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        module = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed here")
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        # Partial files are kept in pieces of this size, 10 MiB in earnest.
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
        return module.HfApi(endpoint=served.url("hub"), token="hf_lab_reader")

    def test_a_snapshot_has_every_file(self, library: Any, revision: str) -> None:
        folder = Path(library.snapshot_download(GATED))
        assert folder.name == revision
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        assert (folder / "1_Pooling" / "config.json").read_text() == "{}\n"

    def test_a_cut_connection_is_continued_by_range(self, library: Any, served: Served) -> None:
        path = f"/{GATED}/resolve/"
        served.spoil({"site": "hub", "path": path, "method": "GET", "close_after": 100_000, "times": 3})
        folder = Path(library.snapshot_download(GATED, allow_patterns=["model.safetensors"], max_workers=1))
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        assert "206" in served.log.getvalue()

    @pytest.mark.parametrize(
        ("repository", "revision", "token", "error"),
        [
            (GATED, "main", "hf_lab_stranger", "GatedRepoError"),
            (GATED, "main", False, "GatedRepoError"),
            (GATED, "v9", "hf_lab_reader", "RevisionNotFoundError"),
            ("lab/nothing", "main", "hf_lab_reader", "RepositoryNotFoundError"),
            (GATED, "main", "hf_unknown", "HfHubHTTPError"),
        ],
    )
    def test_a_refusal_becomes_the_librarys_own_error(
        self, library: Any, repository: str, revision: str, token: str | bool, error: str
    ) -> None:
        errors = pytest.importorskip("huggingface_hub.errors")
        with pytest.raises(getattr(errors, error)):
            library.snapshot_download(repository, revision=revision, token=token)

    def test_auth_check_tells_readers_from_strangers(self, library: Any) -> None:
        errors = pytest.importorskip("huggingface_hub.errors")
        library.auth_check(GATED)
        with pytest.raises(errors.GatedRepoError):
            library.auth_check(GATED, token="hf_lab_stranger")


def test_a_hub_without_repositories_knows_none(serve: Callable[[Content], Served]) -> None:
    assert ask(serve(Content()), f"/api/models/{OPEN}", READER).status == 404
