"""A model's files as the hub lists them; Ollama's manifests and checksums."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from bundle.errors import BundleError
from bundle.fetching import Web
from bundle.hub import OTHER_FORMATS, listing, plan, wanted_files
from bundle.needs import HubModel, OllamaRelease
from bundle.ollama import blobs, plan_models, plan_releases
from roles.ollama_archive import published_sha256
from roles.pins import ROOT, pins
from roles.secret_sources import SecretSource
from tests.unit.bundle.scripted_server import Say, Seen, serving

REVISION = "0123456789abcdef0123456789abcdef01234567"


def entry(path: str, large: bool = False) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": 3, "oid": "0" * 40, **({"lfs": {"oid": "1" * 64}} if large else {})}


def test_a_bundle_leaves_out_what_the_host_leaves_out() -> None:
    program = ast.parse((ROOT / "roles/vllm/host/fetch-model").read_text())
    (value,) = [
        node.value for node in program.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OTHER_FORMATS"
    ]  # fmt: skip
    assert tuple(ast.literal_eval(value)) == OTHER_FORMATS


def test_weights_in_other_formats_are_left_out_where_there_are_safetensors() -> None:
    tree = [
        entry("config.json"),
        entry("a.safetensors", True),
        entry("a.bin", True),
        {"type": "directory", "path": "original"},
    ]
    assert [one["path"] for one in wanted_files(tree)] == ["config.json", "a.safetensors"]
    assert [one["path"] for one in wanted_files([entry("config.json"), entry("a.bin", True)])] == [
        "config.json",
        "a.bin",
    ]


def test_a_listing_has_all_pages() -> None:
    def answer(request: Seen) -> Say:
        if "cursor" in request.path:
            return Say(body=json.dumps([entry("b")]).encode())
        following = f'<http://{request.headers["host"]}/tree?cursor=2>; rel="next"'
        return Say(body=json.dumps([entry("a")]).encode(), headers={"Link": following})

    with serving(answer) as server, Web(print, pause_s=0) as web:
        assert [one["path"] for one in listing(f"{server.url}/tree", None, web)] == ["a", "b"]


def test_a_page_of_a_listing_at_another_server_gets_no_token() -> None:
    with serving(lambda request: Say(body=b"[]")) as other:

        def answer(request: Seen) -> Say:
            return Say(body=b"[]", headers={"Link": f'<{other.url}/next>; rel="next"'})

        with serving(answer) as server, Web(print, pause_s=0) as web:
            listing(f"{server.url}/tree", "hf_planted", web)
        assert server.seen[0].headers["authorization"] == "Bearer hf_planted"
        assert "authorization" not in other.seen[0].headers


def test_a_portal_in_place_of_the_hub_or_registry_is_named() -> None:
    with serving(lambda request: Say(body=b"<html>log in")) as server, Web(print, pause_s=0) as web:
        with pytest.raises(BundleError, match="something that is not JSON"):
            list(plan([HubModel("o/m", REVISION, SecretSource("vllm.hub_token", "HUB"))], server.url, web))
        with pytest.raises(BundleError, match="something that is no manifest"):
            list(plan_models(["llama3.2"], server.url, web))


def test_names_are_asked_for_as_they_are_spelled() -> None:
    empty = json.dumps({"config": {"digest": f"sha256:{'1' * 64}", "size": 1}, "layers": []}).encode()
    with serving(lambda request: Say(body=empty)) as server, Web(print) as web:
        found = list(plan_models(["llama3.1:8b-instruct-q4_K_M", "registry.ollama.ai/library/x:1"], server.url, web))
        assert [one.path for one in found if "manifests" in one.path] == [
            "v2/library/llama3.1/manifests/8b-instruct-q4_K_M",
            "v2/library/x/manifests/1",
        ]
        with pytest.raises(BundleError, match=r"is of hf\.co"):
            list(plan_models(["hf.co/Some/Model-GGUF:Q4_K_M"], server.url, web))


@pytest.mark.parametrize(
    ("status", "code", "token", "words"),
    [
        (401, "GatedRepo", "", "is gated and no token was given"),
        (403, "GatedRepo", "hf_x", "is gated and this token has no access"),
        (404, "RevisionNotFound", "", f"has no revision {REVISION}"),
        (404, "RepoNotFound", "", "the hub has no o/m that we may see"),
        (418, "", "", "answered 418"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(
    status: int, code: str, token: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB", token)
    with (
        serving(lambda request: Say(status, headers={"X-Error-Code": code})) as server,
        Web(print, pause_s=0) as web,
        pytest.raises(BundleError, match=words) as problem,
    ):
        list(plan([HubModel("o/m", REVISION, SecretSource("vllm.hub_token", "HUB"))], server.url, web))
    assert problem.value.remedy


def test_a_model_without_a_revision_is_not_guessed() -> None:
    with Web(print) as web, pytest.raises(BundleError, match="has no pinned revision"):
        list(plan([HubModel("o/m", "", SecretSource("vllm.hub_token", "HUB"))], "http://127.0.0.1:1", web))


def test_the_archives_digest_is_found_in_the_releases_list() -> None:
    text = f"{'a' * 64}  ./ollama-linux-arm64.tar.zst\n{'b' * 64}  ./ollama-linux-amd64.tar.zst\n"
    assert pins().ollama.archive == "ollama-linux-amd64.tar.zst"
    assert published_sha256(text) == "b" * 64
    assert published_sha256(f"{'b' * 64}  ./ollama-linux-amd64.tgz\n\n{'c' * 64}\n") is None


def test_a_pinned_archive_that_was_replaced_is_refused() -> None:
    listed = f"{'b' * 64}  ./{pins().ollama.archive}\n".encode()
    with serving(lambda request: Say(body=listed)) as server, Web(print) as web:
        with pytest.raises(BundleError, match="may have been replaced"):
            list(plan_releases([OllamaRelease("0.1.0", "a" * 64)], server.url, web))
        sums, archive = plan_releases([OllamaRelease("0.1.0", "b" * 64)], server.url, web)
    assert sums.content == listed
    assert archive.sha256s == ("b" * 64,)


def test_a_models_blobs_are_its_configuration_and_layers() -> None:
    manifest = {
        "config": {"digest": f"sha256:{'1' * 64}", "size": 1},
        "layers": [{"digest": f"sha256:{'2' * 64}", "size": 2}],
    }
    assert blobs(json.dumps(manifest)) == [(f"sha256:{'1' * 64}", 1), (f"sha256:{'2' * 64}", 2)]
    with serving(lambda request: Say(body=json.dumps(manifest).encode())) as server, Web(print) as web:
        found = list(plan_models(["llama3.2", "owner/own:7b"], server.url, web))
    assert [one.path for one in found[:2]] == [
        "v2/library/llama3.2/manifests/latest",
        f"v2/library/llama3.2/blobs/sha256-{'1' * 64}",
    ]
    assert found[1].url.endswith(f"/v2/library/llama3.2/blobs/sha256:{'1' * 64}")
    assert found[3].path == "v2/owner/own/manifests/7b"


def test_a_model_that_the_registry_does_not_have_is_named() -> None:
    with (
        serving(lambda request: Say(404)) as server,
        Web(print) as web,
        pytest.raises(BundleError, match="the registry has no nobodys-model"),
    ):
        list(plan_models(["nobodys-model"], server.url, web))


def test_a_token_that_cannot_be_read_is_told_with_its_setting_before_anything_is_asked() -> None:
    model = HubModel("o/m", REVISION, SecretSource("vllm.hub_token", "HUB", command=("false",)))
    with Web(print, pause_s=0) as web, pytest.raises(BundleError) as told:
        list(plan([model], "http://127.0.0.1:1", web))
    assert "vllm.hub_token_command" in str(told.value)
    assert "`false` ended with status 1" in str(told.value)
