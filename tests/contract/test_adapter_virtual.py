"""Virtual models over HTTP: made, listed, used, copied and deleted as in Ollama, and kept over what may happen."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.adapter_process import AdapterProcess, Start
from tests.contract.ollama_stand_in import OllamaStandIn
from tests.contract.recorded import Answer
from tests.contract.vllm_stand_in import VllmStandIn
from tests.contract.wire import ask, get, post, request

CHILD = {
    "model": "child",
    "from": "llama2",
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
    "parameters": {"temperature": 0.25, "stop": ["END"], "top_k": 7},
    "license": "MIT",
}


def create(adapter: AdapterProcess, **fields: Any) -> Answer:
    return post(adapter.port, "/api/create", {"stream": False, **fields})


def delete(adapter: AdapterProcess, name: str) -> Answer:
    return ask(adapter.port, request("/api/delete", {"model": name}, method="DELETE"))


def listed(adapter: AdapterProcess) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(get(adapter.port, "/api/tags").body)["models"]}


def status(answer: Answer) -> int:
    return int(answer.status_line.split(" ")[1])


def error(answer: Answer) -> tuple[int, str]:
    return status(answer), json.loads(answer.body)["error"]


@pytest.fixture
def kept(start_adapter: Start, tmp_path: Path) -> AdapterProcess:
    """An adapter that keeps its virtual models."""
    return start_adapter(server={"state_directory": str(tmp_path / "state")})


@pytest.fixture
def child(kept: AdapterProcess) -> AdapterProcess:
    """The same with one virtual model."""
    assert create(kept, **CHILD).body == '{"status":"success"}'
    return kept


def sent(vllm: VllmStandIn) -> dict[str, Any]:
    body: dict[str, Any] = [found.json for found in vllm.received if found.path == "/v1/chat/completions"][-1]
    return body


def test_a_chat_with_a_virtual_model_gets_its_texts_and_parameters(child: AdapterProcess, vllm: VllmStandIn) -> None:
    answer = post(child.port, "/api/chat", {"model": "Child", "messages": [{"role": "user", "content": "x"}]})
    assert json.loads(answer.body.splitlines()[-1])["model"] == "Child"
    body = sent(vllm)
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "hi", "hello", "x"]
    assert (body["temperature"], body["top_k"], body["stop"]) == (0.25, 7, ["END"])


def test_a_prompt_gets_them_too_and_its_own_options_win(child: AdapterProcess, vllm: VllmStandIn) -> None:
    asked = {"model": "child", "prompt": "x", "stream": False, "options": {"temperature": 1, "stop": None}}
    assert json.loads(post(child.port, "/api/generate", asked).body)["done_reason"] == "stop"
    body = sent(vllm)
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "hi", "hello", "x"]
    assert (body["temperature"], body["top_k"], body["stop"]) == (1, 7, ["END"])


def test_openais_routes_take_a_virtual_model_as_any_other(child: AdapterProcess, vllm: VllmStandIn) -> None:
    asked = {"model": "child", "messages": [{"role": "user", "content": "x"}], "temperature": 1}
    assert json.loads(post(child.port, "/v1/chat/completions", asked).body)["model"] == "child"
    body = sent(vllm)
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "hi", "hello", "x"]
    assert (body["temperature"], body["top_k"], body["stop"]) == (1, 7, ["END"])
    models = json.loads(get(child.port, "/v1/models").body)["data"]
    assert "child:latest" in [model["id"] for model in models]


def test_it_is_listed_shown_and_resident_as_in_ollama(child: AdapterProcess) -> None:
    entry, base = listed(child)["child:latest"], listed(child)["llama2:latest"]
    assert entry["details"] == {**base["details"], "parent_model": "llama2:latest"}
    assert re.fullmatch("[0-9a-f]{64}", entry["digest"])
    assert entry["digest"] != base["digest"]
    shown = json.loads(post(child.port, "/api/show", {"model": "child"}).body)
    assert shown["system"] == "Be brief."
    assert shown["messages"] == CHILD["messages"]
    assert shown["license"] == "MIT"
    assert 'stop                           "END"\n' in shown["parameters"] + "\n"
    assert "\nFROM llama2:latest\n" in shown["modelfile"]
    assert shown["modelfile"].endswith("MESSAGE user hi\nMESSAGE assistant hello\n")
    assert shown["details"]["parent_model"] == "llama2:latest"
    post(child.port, "/api/generate", {"model": "child"})
    loaded = json.loads(get(child.port, "/api/ps").body)["models"]
    assert [found["name"] for found in loaded] == ["child:latest"]


def test_a_copy_is_a_model_of_its_own(child: AdapterProcess, vllm: VllmStandIn) -> None:
    for source, destination in (("llama2", "alias"), ("child", "me/twin:v2")):
        answer = post(child.port, "/api/copy", {"source": source, "destination": destination})
        assert (status(answer), answer.body, answer.header("content-type")) == (200, "", [])
    assert delete(child, "child").status_line == "HTTP/1.1 200 OK"
    models = listed(child)
    assert set(models) == {"llama2:latest", "alias:latest", "me/twin:v2"}
    assert models["alias:latest"]["details"]["parent_model"] == ""
    assert models["me/twin:v2"]["details"]["parent_model"] == "llama2:latest"
    assert len({found["digest"] for found in models.values()}) == 3
    post(child.port, "/api/chat", {"model": "me/twin:v2", "messages": [{"role": "user", "content": "x"}]})
    assert sent(vllm)["messages"][0]["content"] == "Be brief."


def test_a_model_made_of_a_virtual_one_outlives_it(child: AdapterProcess) -> None:
    assert create(child, model="grandchild", **{"from": "child"}, system="Be long.").body == '{"status":"success"}'
    assert delete(child, "child").body == ""
    shown = json.loads(post(child.port, "/api/show", {"model": "grandchild"}).body)
    assert (shown["system"], shown["messages"]) == ("Be long.", CHILD["messages"])
    assert shown["details"]["parent_model"] == "child:latest"


def test_the_steps_of_a_creation_are_told_as_ollama_tells_them(kept: AdapterProcess) -> None:
    def steps(**fields: Any) -> list[str]:
        answer = post(kept.port, "/api/create", {"model": "x", "from": "llama2", **fields})
        assert answer.header("content-type") == ["application/x-ndjson"]
        assert answer.chunks == len(answer.body.splitlines())
        told = [json.loads(line)["status"] for line in answer.body.splitlines()]
        return [re.sub("sha256:([0-9a-f]{6})[0-9a-f]{58}", r"\1", line) for line in told]

    base = listed(kept)["llama2:latest"]["digest"][:6]
    told = [f"using existing layer {base}", "creating new layer 8de0b3", "writing manifest", "success"]
    assert steps(system="S") == told
    assert steps(system="S") == [told[0], "using existing layer 8de0b3", *told[2:]]


def test_a_creation_that_replaces_keeps_the_name_as_it_was_written(child: AdapterProcess) -> None:
    assert create(child, model="CHILD", **{"from": "llama2"}).body == '{"status":"success"}'
    assert "child:latest" in listed(child)
    assert "system" not in json.loads(post(child.port, "/api/show", {"model": "child"}).body)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "x"}, (400, "neither 'from' or 'files' was specified")),
        ({"model": "x", "files": {}}, (400, "no files provided to convert")),
        ({"model": "x", "files": {"../a": "sha256:1"}}, (400, "file path must be relative")),
        ({"model": "x", "files": {"a": 1}}, (400, "json: cannot unmarshal number into Go struct field "
         "CreateRequest.files of type string")),
        ({"model": "x", "files": []}, (400, "json: cannot unmarshal array into Go struct field CreateRequest.files of "
         "type map[string]string")),
        ({"model": "x", "from": "nosuch"}, (500, "pull model manifest: file does not exist")),
        ({"model": "x", "from": "a b!"}, (400, "invalid model name")),
        ({"model": "a b!", "from": "llama2"}, (400, "invalid model name")),
        ({"from": "llama2"}, (400, "invalid model name")),
        ({"model": "llama2", "from": "llama2"}, (400, '"llama2:latest" is served by vLLM: its names are in the settings '
         "of the adapter (aliases), not in a request")),
        ({"model": "x", "from": "llama2", "parameters": "hot"}, (400, "json: cannot unmarshal string into Go struct "
         "field CreateRequest.parameters of type map[string]interface {}")),
    ],
)  # fmt: skip
def test_what_cannot_be_made_says_why(
    adapter: AdapterProcess, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert error(create(adapter, **fields)) == expected


def test_an_unknown_base_is_looked_for_in_a_stream(adapter: AdapterProcess) -> None:
    answer = post(adapter.port, "/api/create", {"model": "x", "from": "nosuch"})
    assert answer.body == '{"status":"pulling manifest"}\n{"error":"pull model manifest: file does not exist"}\n'


def test_a_parameter_of_the_wrong_type_is_an_error_when_it_is_used(kept: AdapterProcess) -> None:
    assert status(create(kept, model="x", **{"from": "llama2"}, parameters={"temperature": "hot", "nope": 1})) == 200
    used = post(kept.port, "/api/chat", {"model": "x", "messages": [{"role": "user", "content": "x"}]})
    assert error(used) == (500, 'option "temperature" must be of type float32')


def test_a_served_model_is_not_deleted_and_the_error_names_the_setting(adapter: AdapterProcess) -> None:
    assert error(delete(adapter, "llama2")) == (
        400, '"llama2" is served by vLLM: its names are in the settings of the adapter (aliases), not in a request',
    )  # fmt: skip
    copied = post(adapter.port, "/api/copy", {"source": "llama3.2", "destination": "llama2"})
    assert error(copied)[0] == 400
    assert status(post(adapter.port, "/api/copy", {"source": "llama2", "destination": "llama2:latest"})) == 200


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("llama2", "", (400, 'destination "" is invalid')),
        ("llama2", "a b!", (400, 'destination "a b!" is invalid')),
        ("nosuch", "a b!", (400, 'destination "a b!" is invalid')),
        ("nosuch", "x", (404, 'model "nosuch" not found')),
        ("a b!", "x", (400, 'source "a b!" is invalid')),
        ("llama2", "llava:7b", (400, '"llava:7b" is a model of Ollama Vision; choose another name')),
    ],
)
def test_a_copy_that_cannot_be_made_says_why(
    adapter: AdapterProcess, source: str, destination: str, expected: tuple[int, str]
) -> None:
    assert error(post(adapter.port, "/api/copy", {"source": source, "destination": destination})) == expected


def test_a_model_is_made_where_its_base_is(adapter: AdapterProcess, vision: OllamaStandIn) -> None:
    vision.whole = b'{"status":"success"}'
    made = create(adapter, model="x", **{"from": "llava:7b"})
    assert made.body == '{"status":"success"}'
    assert [found.path for found in vision.received][-1] == "/api/create"
    vision.received.clear()
    own = create(adapter, model="llava:7b", **{"from": "llama2"}, license="x" * 20_000)
    assert error(own) == (400, '"llava:7b" is a model of Ollama Vision; choose another name')
    assert "/api/create" not in [found.path for found in vision.received]


@pytest.fixture
def restarted(vllm: VllmStandIn, tmp_path: Path) -> Iterator[Any]:
    """Starts one adapter after the other on the same state."""
    running: list[AdapterProcess] = []

    def start(*aliases: str) -> AdapterProcess:
        while running:
            running.pop().__exit__()
        settings = {"url": vllm.url, "aliases": list(aliases), "context_length": 2048}
        adapter = AdapterProcess(tmp_path, vllm=settings, server={"state_directory": str(tmp_path / "state")})
        running.append(adapter.__enter__())
        return adapter

    yield start
    for adapter in running:
        adapter.__exit__()


def test_virtual_models_outlive_a_kill_and_a_change_of_the_settings(restarted: Any) -> None:
    first = restarted("llama2")
    create(first, **CHILD)
    before = listed(first)["child:latest"]
    again = restarted("llama2", "llama3")  # __exit__ kills
    assert listed(again)["child:latest"] == before
    assert set(listed(restarted("other"))) == {"other:latest"}
    assert delete(restarted("other"), "nosuch").status_line == "HTTP/1.1 404 Not Found"
    assert listed(restarted("llama2"))["child:latest"] == before
    assert delete(restarted("other"), "child").status_line == "HTTP/1.1 200 OK", "a hidden model can be deleted"
    assert set(listed(restarted("llama2"))) == {"llama2:latest"}


def test_without_a_state_directory_they_live_as_long_as_the_process(adapter: AdapterProcess) -> None:
    assert create(adapter, **CHILD).body == '{"status":"success"}'
    assert "child:latest" in listed(adapter)
    assert delete(adapter, "child").body == ""
    assert "child:latest" not in listed(adapter)


@pytest.mark.parametrize("with_directory", [True, False])
def test_all_processes_of_a_port_have_the_same_models(
    start_adapter: Start, tmp_path: Path, with_directory: bool
) -> None:
    state = {"state_directory": str(tmp_path / "state")} if with_directory else {}
    adapter = start_adapter(server={"processes": 2, **state})
    adapter.event("listening")
    for system in ("one", "two"):
        assert create(adapter, model="x", **{"from": "llama2"}, system=system).body == '{"status":"success"}'
        for _ in range(20):  # each on a connection of its own, so by either process
            assert json.loads(post(adapter.port, "/api/show", {"model": "x"}).body)["system"] == system
    assert delete(adapter, "x").body == ""
    for _ in range(20):
        assert set(listed(adapter)) == {"llama2:latest"}


def test_a_disk_that_takes_nothing_is_an_error_and_everything_else_works(kept: AdapterProcess, tmp_path: Path) -> None:
    assert create(kept, model="x", **{"from": "llama2"}, system="old").body == '{"status":"success"}'
    limit = resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE, (100, limit[1]))
    code, message = error(create(kept, model="x", **{"from": "llama2"}, system="new" * 100))
    assert code == 500
    assert message.startswith("cannot keep the model: ")
    assert "server.state_directory" in message
    streamed = post(kept.port, "/api/create", {"model": "x", "from": "llama2", "system": "new" * 100})
    assert [*json.loads(streamed.body.splitlines()[-1])] == ["error"]
    assert json.loads(post(kept.port, "/api/show", {"model": "x"}).body)["system"] == "old"
    assert status(post(kept.port, "/api/chat", {"model": "x", "messages": [{"role": "user", "content": "x"}]})) == 200
    resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE, limit)
    assert create(kept, model="x", **{"from": "llama2"}, system="new").body == '{"status":"success"}'


def test_a_state_directory_that_cannot_be_is_an_error_of_the_creation_alone(
    start_adapter: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no directory")
    adapter = start_adapter(server={"state_directory": str(tmp_path / "file")})
    code, message = error(create(adapter, **CHILD))
    assert code == 500
    assert str(tmp_path / "file") in message
    assert set(listed(adapter)) == {"llama2:latest"}
    assert (
        status(post(adapter.port, "/api/chat", {"model": "llama2", "messages": [{"role": "user", "content": "x"}]}))
        == 200
    )


def test_clients_do_not_invent_labels_of_metrics(child: AdapterProcess) -> None:
    post(child.port, "/api/chat", {"model": "child", "messages": [{"role": "user", "content": "x"}]})
    metrics = get(child.port, "/metrics").body
    assert 'model="llama2:latest"' in metrics
    assert "child" not in metrics
