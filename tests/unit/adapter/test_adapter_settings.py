from __future__ import annotations

from pathlib import Path

import pytest

from ollama_adapter.__main__ import main
from ollama_adapter.settings import CAPABILITIES, Settings, SettingsError
from ollama_adapter.settings_reading import describe, load

EXAMPLE = """
[server]
host = "0.0.0.0"
port = 11434
ollama_version = "0.32.15"
drain_timeout_s = 30
[vllm]
url = "http://127.0.0.1:8000"
served_model = "llm"
aliases = ["llama2:7b", "llama2", "llama3.2"]
repository = "meta-llama/Llama-2-7b-chat-hf"
revision = "f5db02db724555f92da89c216ac04704f23d4590"
context_length = 4096
size_bytes = 0
family = "llama"
parameter_size = "6.7B"
quantization = "F16"
capabilities = ["completion"]
chat_template = true
[vllm.default_options]
temperature = 0.8
[vision]
url = "http://127.0.0.1:11435"
models = ["llava:7b", "nomic-embed-text"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "adapter.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text), environment or {})
    return caught.value.mistakes


def test_the_file_of_the_role_is_read(tmp_path: Path) -> None:
    settings = load(written(tmp_path, EXAMPLE), {})
    assert (settings.server.port, settings.server.drain_timeout_s) == (11434, 30.0)
    assert settings.vision.models == ["llava:7b", "nomic-embed-text"]
    assert settings.vllm.default_options == {"temperature": 0.8}
    assert settings.file_time > 0


def test_without_a_file_there_are_defaults() -> None:
    assert load(None, {}) == Settings()


def test_the_printed_settings_are_the_defaults(tmp_path: Path) -> None:
    text = describe().replace("default_options = {}", "default_options = {}")
    assert load(written(tmp_path, text), {}).vllm == Settings().vllm


def test_an_unknown_key_names_its_nearest_neighbour(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "[vllm]\nalias = []\n") == ["vllm.alias: unknown setting; did you mean vllm.aliases?"]
    assert mistakes(tmp_path, "[vlm]\n") == ["vlm: unknown setting; did you mean vllm?"]
    assert "known: host, port" in mistakes(tmp_path, "[server]\nzzzzzz = 1\n")[0]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = """
        [server]
        port = 70000
        host = 5
        drain_timeout_s = true
        [vllm]
        url = "https://x/y"
        aliases = ["a b!"]
        capabilities = ["flying"]
        keep_alive = "5x"
        chat_template = "yes"
        [vllm.default_options]
        stop = "x"
        [vision]
        models = [5]
    """
    assert mistakes(tmp_path, text) == [
        "server.port: 70000 is not between 0 and 65535",
        "server.host: 5 is not a text",
        "server.drain_timeout_s: True is not a number",
        "vllm.url: 'https://x/y' is not of the form http://host:port",
        "vllm.aliases: 'a b!' is not a model name",
        f"vllm.capabilities: 'flying' is not one of {', '.join(CAPABILITIES)}",
        'vllm.keep_alive: time: unknown unit "x" in duration "5x"',
        "vllm.chat_template: 'yes' is not true or false",
        'vllm.default_options: option "stop" must be of type array',
        "vision.models: [5] is not a list of texts",
    ]


def test_one_name_has_one_backend(tmp_path: Path) -> None:
    text = '[vllm]\naliases = ["llama2", "library/llama2:latest"]\n[vision]\nmodels = ["Llama2"]\n'
    assert mistakes(tmp_path, text) == [
        "vllm.aliases: vllm.aliases[0] 'llama2' and 'library/llama2:latest' are the same name",
        "vision.models: 'Llama2' is also in vllm.aliases; one name can have one backend",
        "vision.models: there are models but vision.url is empty",
    ]


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environment = {
        "OLLAMA_ADAPTER_SERVER_PORT": "1234",
        "OLLAMA_ADAPTER_VLLM_ALIASES": "a, b:c",
        "OLLAMA_ADAPTER_VLLM_CHAT_TEMPLATE": "false",
        "OLLAMA_ADAPTER_VLLM_CONNECT_TIMEOUT_S": "0.5",
        "PATH": "/bin",
    }
    settings = load(written(tmp_path, EXAMPLE), environment)
    assert (settings.server.port, settings.vllm.aliases) == (1234, ["a", "b:c"])
    assert (settings.vllm.chat_template, settings.vllm.connect_timeout_s) == (False, 0.5)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    environment = {
        "OLLAMA_ADAPTER_VLM_URL": "x",
        "OLLAMA_ADAPTER_SERVER_PORT": "many",
        "OLLAMA_ADAPTER_VLLM_CHAT_TEMPLATE": "maybe",
        "OLLAMA_ADAPTER_VLLM_DEFAULT_OPTIONS": "{}",
    }
    assert mistakes(tmp_path, "", environment) == [
        "OLLAMA_ADAPTER_VLM_URL: unknown setting; did you mean OLLAMA_ADAPTER_VLLM_URL?",
        "OLLAMA_ADAPTER_SERVER_PORT: 'many' is not a number",
        "OLLAMA_ADAPTER_VLLM_CHAT_TEMPLATE: 'maybe' is not true or false",
        "OLLAMA_ADAPTER_VLLM_DEFAULT_OPTIONS: cannot be set in the environment; use the configuration file",
    ]


@pytest.mark.parametrize(("text", "problem"), [("[server", "not TOML"), ("server = 5", "must be a section")])
def test_a_broken_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in mistakes(tmp_path, text)[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "nowhere.toml", {})


def test_checking_the_configuration_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(written(tmp_path, EXAMPLE)), "--check-config"]) == 0
    assert "the settings are right" in capsys.readouterr().out


def test_a_wrong_configuration_is_exit_code_2_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(written(tmp_path, "[server]\nprot = 1\n")), "--check-config"]) == 2
    printed = capsys.readouterr().err
    assert "server.prot: unknown setting; did you mean server.port?" in printed
    assert "--show-config" in printed


def test_the_settings_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show-config"]) == 0
    assert "drain_timeout_s = 30.0  # after SIGTERM" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_end_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([flag])
    assert caught.value.code == 0
    assert "ollama" in capsys.readouterr().out
