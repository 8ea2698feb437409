"""The endpoints of a model hub that `huggingface_hub` uses to resolve a revision and to download its files.

Read in huggingface_hub 2.4.0: `HfApi.model_info`, `list_repo_tree`, `auth_check`, `whoami`, `_snapshot_download.py`,
`file_download.py` and `utils/_http.py` (which error code becomes which exception). Texts of the answers for gated
repositories are those of the public hub, as quoted in its users' bug reports: what a repository contains is public,
its files are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lab.mirror.replies import Reply, Request, as_json, file, inside, text
from lab.mirror.repositories import Repository, read

# Token -> (name, may read gated repositories). Lab values; nothing outside the lab accepts them.
# What follows a dot makes a token somebody's own: `hf_lab_reader.4f1d` is one of the reader's.
TOKENS: Mapping[str, tuple[str, bool]] = {
    "hf_lab_reader": ("lab-reader", True),
    "hf_lab_stranger": ("lab-stranger", False),
}
SITE = "https://huggingface.co"


def _error(status: int, code: str | None, message: str, **more: str) -> Reply:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **more}
    return as_json({"error": message}, status, headers)


@lru_cache(maxsize=4)
def _repositories(root: Path, changed_ns: int) -> dict[str, Repository]:
    return read(root)


@dataclass(frozen=True)
class Hub:
    """The repositories below one folder (see `lab.mirror.repositories`), with the hub's rules of access."""

    root: Path | None
    name: str = "hub"

    def answer(self, request: Request) -> Reply:
        """JSON for `/api/`, a file for `/{repository}/resolve/{revision}/{file}`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        if token and _account(token) not in TOKENS:
            return _error(401, None, "Invalid credentials in Authorization header")
        parts = request.path.strip("/").split("/")
        if parts == ["api", "whoami-v2"]:
            return _whoami(token)
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            with_files = request.query.get("blobs", "").lower() in ("1", "true")
            return self._api("/".join(parts[2:4]), parts[4:], token, with_files)
        if len(parts) >= 5 and parts[2] == "resolve":
            return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), token)
        return text(404, "Not Found")

    def _find(self, name: str, token: str) -> Repository | Reply:
        known = _repositories(self.root, self.root.stat().st_mtime_ns) if self.root else {}
        if name in known:
            return known[name]
        # The hub does not tell strangers what exists: without a token a missing repository is a 401.
        if not token:
            return _error(401, "RepoNotFound", "Invalid username or password.")
        return _error(404, "RepoNotFound", "Repository not found")

    def _api(self, name: str, rest: list[str], token: str, with_files: bool) -> Reply:
        found = self._find(name, token)
        if isinstance(found, Reply):
            return found
        match rest:
            case []:
                return as_json(found.info(with_files))
            case ["auth-check"]:
                return _refusal(found, token) or Reply(200, b"OK")
            case ["refs"]:
                main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.revision}
                return as_json({"tags": [], "branches": [main], "converts": []})
            case ["revision", *revision]:
                return _missing_revision(found, "/".join(revision)) or as_json(found.info(with_files))
            case ["tree", revision, *folder]:
                return _missing_revision(found, revision) or _tree(found, "/".join(folder))
        return text(404, "Not Found")

    def _resolve(self, name: str, revision: str, path: str, token: str) -> Reply:
        found = self._find(name, token)
        if isinstance(found, Reply):
            return found
        if refusal := _refusal(found, token) or _missing_revision(found, revision):
            return refusal
        commit = {"X-Repo-Commit": found.revision}
        entry = found.files.get(path)
        on_disk = inside(found.folder, path)
        if entry is None or on_disk is None:
            return _error(404, "EntryNotFound", "Entry not found", **commit)
        plain = file(on_disk, content_type="application/octet-stream", etag=entry.etag)
        linked = {"X-Linked-Size": str(entry.size), "X-Linked-Etag": f'"{entry.etag}"'} if entry.is_large else {}
        return Reply(200, on_disk, plain.content_type, {**plain.headers, **commit, **linked}, entry.etag)


def _account(token: str) -> str:
    return token.partition(".")[0]


def _refusal(repository: Repository, token: str) -> Reply | None:
    """Why this token may not read the files, or None."""
    if not repository.gated or TOKENS.get(_account(token), ("", False))[1]:
        return None
    name = repository.name
    if not token:
        message = f"Access to model {name} is restricted. You must have access to it and be authenticated to access it."
        return _error(401, "GatedRepo", f"{message} Please log in.")
    message = f"Access to model {name} is restricted and you are not in the authorized list."
    return _error(403, "GatedRepo", f"{message} Visit {SITE}/{name} to ask for access.")


def _missing_revision(repository: Repository, revision: str) -> Reply | None:
    if revision in ("main", "refs/heads/main", repository.revision):
        return None
    return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def _tree(repository: Repository, folder: str) -> Reply:
    prefix = f"{folder}/" if folder else ""
    entries = [entry.listing(path) for path, entry in repository.files.items() if path.startswith(prefix)]
    if folder and not entries:
        return _error(404, "EntryNotFound", f"{folder} does not exist on revision {repository.revision}")
    return as_json(entries)


def _whoami(token: str) -> Reply:
    if not token:
        return _error(401, None, "Invalid username or password.")
    name = TOKENS[_account(token)][0]
    auth = {"type": "access_token", "accessToken": {"displayName": "lab", "role": "read"}}
    return as_json({"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": auth})
