"""The Ollama stand-in, as the release archive carries it: one file that is run, asked, killed, and asked again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.mirror import ollama_releases
from lab.mirror.sites import Content

from .conftest import Served, pulled

RECORDINGS = Path(__file__).parents[2] / "contract" / "recordings" / "ollama-0.32.15.jsonl"
# Recorded exchanges that stand alone and speak of plain completion and embedding models.
COMPARED = """
    root_get root_head version version_head gen_nostream_full gen_stream gen_stream_full gen_stream_null
    gen_load_empty_prompt gen_unload gen_raw_empty_prompt gen_images_nonvision gen_images_empty gen_think_unsupported
    gen_unknown_model gen_unknown_model_tag gen_missing_model gen_empty_model gen_malformed gen_malformed2
    gen_empty_body gen_json_array gen_json_string gen_json_null gen_empty_object gen_method_get gen_method_put
    gen_method_delete gen_method_patch gen_method_head gen_method_options gen_keepalive_str gen_keepalive_bool
    gen_keepalive_numstr gen_num_predict_0 gen_num_predict_str gen_num_predict_float gen_options_array gen_stop_string
    gen_options_stop_wrong gen_options_unknown gen_format_badstring gen_format_array gen_format_null gen_stream_string
    gen_prompt_number gen_model_number gen_case_keys gen_ctype_form gen_unload_unknown gen_model_latest gen_model_full
    chat_nostream chat_nostream_full chat_stream chat_stream_full chat_load_no_messages chat_load_stream_false
    chat_unload chat_system chat_multi chat_no_role chat_content_null chat_unknown_model chat_missing_model
    chat_bad_model_name chat_images_badb64 chat_messages_string chat_message_string_item chat_tools_unsupported
    chat_tools_empty_list chat_think_unsupported chat_empty_body chat_json_array chat_model_number chat_method_get
    embed_array embed_empty_string embed_unknown embed_missing_model embed_object embeddings_prompt
    embeddings_empty_prompt embeddings_unknown show_unknown show_badname show_empty_body show_number show_get
    copy_unknown copy_missing_source copy_empty_body copy_self copy_get delete_unknown delete_badname delete_name_key
    pull_missing pull_malformed path_unknown_path path_unknown_api path_trailing_slash path_generate_trailing
    path_root_post path_tags_post path_ps_post path_query path_status path_favicon
    em_string em_array em_empty_array em_no_input em_null em_number em_dims ems_prompt ems_empty em_chat
"""
SENTENCE = " The quick brown fox jumps over the lazy dog."


@dataclass
class Ollama:
    """The command with its environment, and the server it started."""

    command: Path
    environment: dict[str, str]
    port: int
    server: subprocess.Popen[bytes]

    @property
    def models(self) -> Path:
        return Path(self.environment["OLLAMA_MODELS"])

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.command), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str, str]:
        """Status, content type, text."""
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, text.encode())
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type") or "", answer.read().decode()
        finally:
            connection.close()

    def stream(self, path: str, body: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ask("POST", path, body)[2].splitlines()]

    def blobs(self) -> set[str]:
        return {path.name for path in (self.models / "blobs").iterdir()}

    def stop(self) -> int:
        self.server.terminate()
        return self.server.wait(timeout=20)


Start = Callable[..., Ollama]


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ollama") / "ollama"
    path.write_bytes(ollama_releases.application("0.32.15"))
    path.chmod(0o755)
    return path


@pytest.fixture
def start(binary: Path, tmp_path: Path) -> Iterator[Start]:
    running: list[Ollama] = []

    def run(models: Path | None = None, **variables: str) -> Ollama:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        folder = models or tmp_path / f"models-{len(running)}"
        plain = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment = plain | {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(folder), **variables}
        log = (tmp_path / f"ollama-{len(running)}.log").open("wb")
        with log:
            server = subprocess.Popen([str(binary), "serve"], env=environment, stdout=log, stderr=log)
        running.append(Ollama(binary, environment, port, server))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and server.poll() is None:
            try:
                running[-1].ask("GET", "/")
                return running[-1]
            except OSError:
                time.sleep(0.02)
        raise AssertionError((tmp_path / f"ollama-{len(running) - 1}.log").read_text())

    yield run
    for ollama in running:
        ollama.server.kill()
        ollama.server.wait()


@pytest.fixture
def ollama(start: Start, content: Content, tmp_path: Path) -> Ollama:
    """A server with all the lab's models."""
    return start(pulled(content, tmp_path / "models"))


def recorded() -> list[Any]:
    """The exchanges of COMPARED; a name that was not recorded is an error."""
    rows: dict[str, Any] = {}
    for line in RECORDINGS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.setdefault(row["name"], row)
    return [pytest.param(rows[name], id=name) for name in COMPARED.split()]


def shape(value: object) -> object:
    """A JSON value without its values: keys and types, and one element for a list."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


@pytest.fixture(scope="module")
def played(binary: Path, content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """One server for all recorded exchanges; each of them stands alone."""
    folder = tmp_path_factory.mktemp("played")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    models = str(pulled(content, folder / "models"))
    environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": models}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([str(binary), "serve"], env=environment, stdout=log, stderr=log)
    ollama = Ollama(binary, environment, port, server)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            ollama.ask("GET", "/")
            break
        except OSError:
            time.sleep(0.02)
    yield ollama
    server.kill()
    server.wait()


@pytest.mark.parametrize("row", recorded())
def test_status_type_and_shape_are_those_of_the_recorded_ollama(played: Ollama, row: dict[str, Any]) -> None:
    method, path, _ = row["request"]["line"].split(" ")
    wanted = row["response"]
    status, kind, text = played.ask(method, path, row["request"]["body"] or None)
    headers = {name.lower(): value for name, value in wanted["headers"]}
    assert status == int(wanted["status_line"].split(" ")[1])
    assert kind == headers.get("content-type", "")
    if status >= 400 or "json" not in kind:
        assert text.strip() == wanted["body"].strip()
        return
    lines, expected = text.splitlines(), wanted["body"].splitlines()
    assert [shape(json.loads(line)) for line in lines] == [shape(json.loads(line)) for line in expected]


@pytest.mark.parametrize("name", ["show", "tags_after", "ps_keepalive_10m"])
def test_listings_have_the_recorded_keys(ollama: Ollama, name: str) -> None:
    row = next(json.loads(line) for line in RECORDINGS.read_text().splitlines() if json.loads(line)["name"] == name)
    method, path, _ = row["request"]["line"].split(" ")
    ollama.ask("POST", "/api/generate", {"model": "tiny"})
    value = json.loads(ollama.ask(method, path, row["request"]["body"] or None)[2])
    wanted = json.loads(row["response"]["body"])
    if name == "show":
        # Optional parts depend on the model's layers.
        assert wanted.keys() - {"license", "parameters"} == value.keys() - {"license", "parameters"}
        assert value["details"].keys() == wanted["details"].keys()
    else:
        assert shape(value["models"][0]) == shape(wanted["models"][0])


@pytest.mark.parametrize("name", ["gen_nostream_full", "gen_stream_full", "chat_nostream_full", "chat_stream_full"])
def test_the_sentence_and_its_token_counts_are_the_recorded_ones(played: Ollama, name: str) -> None:
    row = next(json.loads(line) for line in RECORDINGS.read_text().splitlines() if json.loads(line)["name"] == name)
    method, path, _ = row["request"]["line"].split(" ")

    def told(text: str) -> tuple[str, object, object, object]:
        lines = [json.loads(line) for line in text.splitlines()]
        words = "".join(line.get("response", "") + line.get("message", {}).get("content", "") for line in lines)
        return words, *(lines[-1][key] for key in ("done_reason", "prompt_eval_count", "eval_count"))

    assert told(played.ask(method, path, row["request"]["body"])[2]) == told(row["response"]["body"])


def test_a_vision_model_names_the_size_of_the_image(ollama: Ollama) -> None:
    message = {"role": "user", "content": "what is this?", "images": ["iVBORw0KGgp4eHh4"]}
    lines = ollama.stream("/api/chat", {"model": "llava:7b", "messages": [message]})
    assert "".join(line["message"]["content"] for line in lines) == " The image has 12 bytes."


def test_embeddings_have_length_one_and_the_models_width(ollama: Ollama) -> None:
    body = {"model": "nomic-embed-text", "input": ["one", "two", "one"]}
    vectors = json.loads(ollama.ask("POST", "/api/embed", body)[2])["embeddings"]
    assert [len(vector) for vector in vectors] == [768] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(value * value for value in vectors[1]) == pytest.approx(1)


def test_capabilities_follow_from_the_layers(ollama: Ollama) -> None:
    models = json.loads(ollama.ask("GET", "/api/tags")[2])["models"]
    known = {model["name"]: model["capabilities"] for model in models}
    assert known["llava:7b"] == ["completion", "vision"]
    assert known["nomic-embed-text:latest"] == ["embedding"]
    assert known["llama3.2:latest"] == ["completion", "tools"]
    assert known["llama2:7b"] == ["completion"]


def test_a_model_stays_for_its_keep_alive_and_goes_when_told(start: Start, content: Content, tmp_path: Path) -> None:
    ollama = start(pulled(content, tmp_path / "models"), OLLAMA_KEEP_ALIVE="-1", OLLAMA_CONTEXT_LENGTH="2000")
    ollama.ask("POST", "/api/generate", {"model": "llama2:7b", "prompt": "hi", "stream": False})
    loaded = json.loads(ollama.ask("GET", "/api/ps")[2])["models"]
    assert [(one["name"], one["context_length"], one["size_vram"]) for one in loaded] == [("llama2:7b", 2000, 0)]
    assert loaded[0]["expires_at"] > "2300"
    assert ollama("stop", "llama2:7b").returncode == 0
    assert json.loads(ollama.ask("GET", "/api/ps")[2]) == {"models": []}


class TestPull:
    def name(self, served: Served, model: str) -> str:
        return f"127.0.0.1:{served.ports['registry']}/library/{model}"

    def test_a_pulled_model_lies_where_ollama_puts_it(self, start: Start, served: Served) -> None:
        ollama, name = start(), self.name(served, "llava:7b")
        assert ollama("pull", "--insecure", name).returncode == 0
        assert ollama("cp", name, "llava:7b").stdout == f"copied '{name}' to 'llava:7b'\n"
        assert ollama("rm", name).stdout == f"deleted '{name}'\n"
        manifest = ollama.models / "manifests" / "registry.ollama.ai" / "library" / "llava" / "7b"
        layers = json.loads(manifest.read_text())["layers"]
        assert {layer["digest"].replace(":", "-") for layer in layers} < ollama.blobs()
        assert ollama("list").stdout.splitlines()[1].startswith("llava:7b ")
        assert ollama("run", "llava:7b", "hello").stdout == f"{SENTENCE}\n\n"

    def test_the_states_are_told_in_order(self, start: Start, served: Served) -> None:
        ollama = start()
        states = ollama.stream("/api/pull", {"model": self.name(served, "llama2:7b"), "insecure": True})
        words = list(dict.fromkeys(state["status"] for state in states))
        assert words[0] == "pulling manifest"
        assert words[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
        assert all(state["completed"] <= state["total"] for state in states if "completed" in state)

    def test_a_cut_download_is_continued(self, start: Start, served: Served) -> None:
        served.spoil({"site": "registry", "path": "/v2/library/llama2/blobs/", "close_after": 100_000, "times": 3})
        ollama = start()
        assert ollama("pull", "--insecure", self.name(served, "llama2:7b")).returncode == 0
        assert " 206 " in served.log.getvalue()

    def test_a_corrupt_blob_is_refused_and_not_kept(self, start: Start, served: Served) -> None:
        served.spoil({"site": "registry", "path": "/v2/library/llama2/blobs/", "corrupt_at": 200_000, "times": 1})
        ollama, name = start(), self.name(served, "llama2:7b")
        failed = ollama("pull", "--insecure", name)
        assert failed.returncode == 1
        assert "digest mismatch, file must be downloaded again" in failed.stderr
        assert ollama("list").stdout.count("\n") == 1
        assert ollama("pull", "--insecure", name).returncode == 0

    def test_an_unknown_model_is_an_error_in_the_stream_and_a_500_without(self, start: Start, served: Served) -> None:
        ollama, body = start(), {"model": self.name(served, "nosuch"), "insecure": True}
        error = {"error": "pull model manifest: file does not exist"}
        assert ollama.stream("/api/pull", body)[-1] == error
        status, kind, text = ollama.ask("POST", "/api/pull", {**body, "stream": False})
        assert (status, kind, json.loads(text)) == (500, "application/json", error)

    def test_without_insecure_a_registry_is_asked_by_https(self, start: Start, served: Served) -> None:
        failed = start()("pull", f"http://{self.name(served, 'llama2:7b')}")
        assert failed.returncode == 1
        assert f'Get "https://127.0.0.1:{served.ports["registry"]}/v2/' in failed.stderr


class TestStore:
    def test_a_start_removes_blobs_nobody_names(self, start: Start, content: Content, tmp_path: Path) -> None:
        models = pulled(content, tmp_path / "models")
        before = {path.name for path in (models / "blobs").iterdir()}
        (models / "blobs" / f"sha256-{'0' * 64}").write_text("orphan")
        (models / "blobs" / f"sha256-{'1' * 64}-partial").write_text("half")
        assert start(models).blobs() == before

    def test_noprune_keeps_them(self, start: Start, content: Content, tmp_path: Path) -> None:
        models = pulled(content, tmp_path / "models")
        (models / "blobs" / f"sha256-{'0' * 64}").write_text("orphan")
        assert f"sha256-{'0' * 64}" in start(models, OLLAMA_NOPRUNE="1").blobs()

    def test_deleting_one_name_keeps_the_blobs_of_the_other(self, ollama: Ollama) -> None:
        ollama.ask("POST", "/api/copy", {"source": "llava:7b", "destination": "eyes"})
        before = ollama.blobs()
        assert ollama.ask("DELETE", "/api/delete", {"model": "llava:7b"})[0] == 200
        assert ollama.blobs() == before
        assert ollama.ask("DELETE", "/api/delete", {"model": "eyes"})[0] == 200
        assert ollama.blobs() < before


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["show", "nosuch"], "Error: model 'nosuch:latest' not found"),
            (["stop", "nosuch"], 'Error: couldn\'t find model "nosuch" to stop'),
            (["rm", "nosuch"], "Error: model 'nosuch' not found"),
            (["cp", "nosuch", "x"], 'Error: model "nosuch" not found'),
            (["frobnicate"], 'Error: unknown command "frobnicate" for "ollama"'),
        ],
    )
    def test_a_failure_has_status_1_and_says_why(self, ollama: Ollama, arguments: Sequence[str], message: str) -> None:
        failed = ollama(*arguments)
        assert (failed.returncode, failed.stderr.strip()) == (1, message)

    def test_the_version_is_the_servers_and_says_that_it_is_a_stand_in(self, ollama: Ollama) -> None:
        assert ollama("--version").stdout == "ollama version is 0.32.15\n(stand-in of the lab)\n"

    def test_another_version_of_the_client_warns(self, ollama: Ollama, tmp_path: Path) -> None:
        newer = tmp_path / "newer"
        newer.write_bytes(ollama_releases.application("0.33.0"))
        newer.chmod(0o755)
        told = subprocess.run([str(newer), "-v"], env=ollama.environment, capture_output=True, text=True, timeout=30)
        assert told.stdout.startswith("ollama version is 0.32.15\nWarning: client version is 0.33.0\n")

    def test_without_a_server_a_command_says_how_to_start_one(self, ollama: Ollama) -> None:
        ollama.stop()
        failed = ollama("list")
        assert failed.returncode == 1
        assert "could not connect to ollama server, run 'ollama serve' to start it" in failed.stderr

    def test_a_taken_port_ends_serve_with_status_1(self, ollama: Ollama) -> None:
        failed = ollama("serve")
        assert failed.returncode == 1
        assert f"Error: listen tcp 127.0.0.1:{ollama.port}: bind: address already in use" in failed.stderr

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_serve_with_status_0(self, ollama: Ollama, number: signal.Signals) -> None:
        ollama.server.send_signal(number)
        assert ollama.server.wait(timeout=20) == 0

    def test_the_kernel_knows_the_process_as_ollama(self, ollama: Ollama) -> None:
        assert Path(f"/proc/{ollama.server.pid}/comm").read_text() == "ollama\n"


def test_a_client_that_leaves_in_the_middle_does_no_harm(ollama: Ollama) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", ollama.port)) as connection:
            body = b'{"model":"llama2:7b","prompt":"x"}'
            connection.sendall(b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    with urllib.request.urlopen(f"http://127.0.0.1:{ollama.port}/", timeout=10) as answer:
        assert answer.read() == b"Ollama is running"
