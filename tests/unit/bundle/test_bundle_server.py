"""The served bundle, asked as its clients ask: ranges, the hub's own library, the registry, the package index; and nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import huggingface_hub
import pytest

from bundle import manifest
from bundle.artefacts import digest_of
from bundle.manifest import Entry, Manifest
from bundle.server import Server, wanted_range

REVISION = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS, CONFIG = b"w" * 5000, b'{"model_type": "llama"}'
GIT_ID = hashlib.sha1(f"blob {len(CONFIG)}\0".encode() + CONFIG).hexdigest()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def put(folder: Path, files: dict[str, bytes]) -> Manifest:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    entries = {name: Entry(digest_of(folder / name), len(content), ("debian-12",)) for name, content in files.items()}
    made = Manifest("2026-11-28T00:00:00Z", "", {"debian-12": ["gpu-01"]}, entries)
    manifest.write(folder, made)
    return made


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    info = {
        "id": "o/m", "modelId": "o/m", "sha": REVISION, "private": False, "gated": False, "disabled": False, "tags": [],
        "downloads": 0, "likes": 0, "siblings": [{"rfilename": "config.json"}, {"rfilename": "m.safetensors"}],
    }  # fmt: skip
    tree = [
        {"type": "file", "path": "config.json", "size": len(CONFIG), "oid": GIT_ID},
        {
            "type": "file", "path": "m.safetensors", "size": len(WEIGHTS), "oid": "0" * 40,
            "lfs": {"oid": SHA256, "size": len(WEIGHTS), "pointerSize": 1},
        },
    ]  # fmt: skip
    put(
        tmp_path,
        {
            f"hub/o/m/{REVISION}/info.json": json.dumps(info).encode(),
            f"hub/o/m/{REVISION}/tree.json": json.dumps(tree).encode(),
            f"hub/o/m/{REVISION}/files/config.json": CONFIG,
            f"hub/o/m/{REVISION}/files/m.safetensors": WEIGHTS,
            "v2/library/llama3.2/manifests/latest": b"{}",
            f"v2/library/llama3.2/blobs/sha256-{SHA256}": WEIGHTS,
            "python/wheels/Some_Thing-1.2+cpu-py3-none-any.whl": b"wheel",
            "distribution/debian/dists/bookworm/main/binary-amd64/Packages.xz": b"list",
        },
    )
    (tmp_path / "secret.txt").write_text("not in the manifest")
    with Server("127.0.0.1", 0, tmp_path) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_the_hubs_own_library_downloads_a_revision(url: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = huggingface_hub.snapshot_download(
        "o/m", revision=REVISION, cache_dir=cache, endpoint=f"{url}/hub", token=False, etag_timeout=5
    )
    assert (Path(path) / "m.safetensors").read_bytes() == WEIGHTS
    assert (Path(path) / "config.json").read_bytes() == CONFIG
    assert (cache / "models--o--m" / "blobs" / SHA256).is_file()


def test_another_revision_or_file_is_refused_in_the_hubs_words(url: str) -> None:
    with pytest.raises(huggingface_hub.errors.EntryNotFoundError):
        huggingface_hub.hf_hub_download("o/m", "nothing.bin", revision=REVISION, endpoint=f"{url}/hub", token=False)
    answer = httpx.get(f"{url}/hub/o/m/resolve/{'f' * 40}/config.json")
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RevisionNotFound")


def test_the_registry_is_at_the_root_and_knows_digests_with_a_colon(url: str) -> None:
    assert httpx.get(f"{url}/v2/").status_code == 200
    told = httpx.get(f"{url}/v2/library/llama3.2/manifests/latest")
    assert told.headers["content-type"] == "application/vnd.docker.distribution.manifest.v2+json"
    part = httpx.get(f"{url}/v2/library/llama3.2/blobs/sha256:{SHA256}", headers={"Range": "bytes=4990-"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"w" * 10, "bytes 4990-4999/5000")
    assert httpx.get(f"{url}/v2/library/llama3.2/blobs/sha256:{'0' * 64}").status_code == 404


def test_the_package_index_lists_what_is_there(url: str) -> None:
    moved = httpx.get(f"{url}/python/simple/Some.Thing/")
    assert (moved.status_code, moved.headers["location"]) == (301, "/python/simple/some-thing/")
    page = httpx.get(f"{url}/python/simple/some-thing/").text
    link = page.partition('href="')[2].partition('"')[0]
    assert link.endswith(hashlib.sha256(b"wheel").hexdigest())
    assert httpx.get(f"{url}{link}").content == b"wheel"
    assert "some-thing/" in httpx.get(f"{url}/python/simple/").text
    assert httpx.get(f"{url}/python/simple/nothing/").status_code == 404


def test_apt_may_ask_for_an_index_by_its_content(url: str) -> None:
    base = f"{url}/distribution/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256"
    assert httpx.get(f"{base}/{hashlib.sha256(b'list').hexdigest()}").content == b"list"
    assert httpx.get(f"{base}/{SHA256}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/secret.txt", "/manifest.json", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
)
def test_nothing_but_the_manifests_files_is_served(url: str, path: str) -> None:
    with httpx.Client() as client:
        assert (
            client.send(client.build_request("GET", httpx.URL(url).copy_with(raw_path=path.encode()))).status_code
            == 404
        )


def test_a_head_has_the_size_and_no_body(url: str) -> None:
    answer = httpx.head(f"{url}/hub/o/m/resolve/{REVISION}/m.safetensors")
    assert answer.headers["content-length"] == "5000"
    assert answer.headers["x-linked-etag"] == f'"{SHA256}"'
    assert answer.headers["x-repo-commit"] == REVISION


def test_a_range_behind_the_end_is_told_the_size(url: str) -> None:
    answer = httpx.get(f"{url}/hub/o/m/resolve/{REVISION}/m.safetensors", headers={"Range": "bytes=5000-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */5000")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", None), ("bytes=0-", (0, 10)), ("bytes=3-5", (3, 6)), ("bytes=3-99", (3, 10)), ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-0", ValueError),
        ("bytes=10-", ValueError), ("bytes=1-2,4-5", None), ("lines=1-2", None), ("bytes=-", None),
    ],
)  # fmt: skip
def test_ranges(header: str, part: tuple[int, int] | type[ValueError] | None) -> None:
    if part is ValueError:
        with pytest.raises(ValueError, match=r"bytes \*/10"):
            wanted_range(header, 10)
    else:
        assert wanted_range(header, 10) == part


def test_an_empty_file_has_no_ranges() -> None:
    assert wanted_range("bytes=0-", 0) is None


def test_a_link_in_the_bundle_leads_nowhere(url: str, tmp_path: Path) -> None:
    inside = tmp_path / "python/wheels/Some_Thing-1.2+cpu-py3-none-any.whl"
    inside.unlink()
    inside.symlink_to("/etc/hostname")
    assert httpx.get(f"{url}/python/wheels/{inside.name}").status_code == 404
    made = manifest.read(tmp_path)
    assert made is not None
    wrong = {path: problem for path, problem in manifest.problems(tmp_path, made) if problem}
    assert list(wrong) == [f"python/wheels/{inside.name}"]


def test_a_bundle_that_was_brought_up_to_date_is_served_as_it_is_now(url: str, tmp_path: Path) -> None:
    (tmp_path / manifest.NAME).unlink()  # make is at work
    assert httpx.get(f"{url}/v2/library/llama3.2/manifests/latest").status_code == 200
    put(tmp_path, {"new": b"new"})
    assert httpx.get(f"{url}/new").content == b"new"
    assert httpx.get(f"{url}/v2/library/llama3.2/manifests/latest").status_code == 404


def test_apt_asks_for_packages_of_a_flat_repository_with_a_dot(url: str) -> None:
    address = f"{url}/distribution/debian/dists/bookworm/main/./binary-amd64/Packages.xz"
    with httpx.Client() as client:
        raw = httpx.URL(url).copy_with(raw_path=address.removeprefix(url).encode())
        assert client.send(client.build_request("GET", raw)).content == b"list"


def test_an_if_range_that_no_longer_fits_gets_the_whole_file(url: str) -> None:
    address = f"{url}/hub/o/m/resolve/{REVISION}/m.safetensors"
    assert httpx.get(address, headers={"Range": "bytes=1-2", "If-Range": '"other"'}).status_code == 200
    whole = httpx.get(address)
    for condition in (f'"{SHA256}"', whole.headers["last-modified"]):
        assert httpx.get(address, headers={"Range": "bytes=1-2", "If-Range": condition}).status_code == 206
