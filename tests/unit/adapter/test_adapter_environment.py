"""The variables of an Ollama server, taken over by an adapter that runs in its place."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from ollama_adapter.ollama.environment import keep_alive, listening_at
from ollama_adapter.service.running import listening_sockets
from ollama_adapter.settings import ServerSettings, Settings
from ollama_adapter.settings_reading import load


# By the rules of ollama/ollama, envconfig/config.go, Host().
@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "127.0.0.1", 11434),
        ("1.2.3.4", "1.2.3.4", 11434),
        (":1234", "", 1234),
        ("1.2.3.4:5678", "1.2.3.4", 5678),
        ("example.com", "example.com", 11434),
        ("example.com:1234", "example.com", 1234),
        ("example.com:0", "example.com", 0),
        ("example.com:66000", "example.com", 11434),
        ("example.com:-1", "example.com", 11434),
        ("[::1]", "::1", 11434),
        ("::1", "::1", 11434),
        ("[::1]:1337", "::1", 1337),
        ("http://1.2.3.4", "1.2.3.4", 80),
        ("http://1.2.3.4:5678", "1.2.3.4", 5678),
        ("https://1.2.3.4", "1.2.3.4", 443),
        ("https://1.2.3.4:5678", "1.2.3.4", 5678),
        ("http://example.com/", "example.com", 80),
        ("example.com:1234/ollama", "example.com", 1234),
        ("0.0.0.0", "0.0.0.0", 11434),
        ("  1.2.3.4:80 ", "1.2.3.4", 80),
        ("host:port", "host", 11434),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(text: str, host: str, port: int) -> None:
    assert listening_at(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "duration"),
    [("10m", "10m"), ("1h30m", "1h30m"), ("300", "300s"), ("-1", "-1s"), ("-5m", "-5m"), ("0", "0"), ("later", "")],
)
def test_a_number_without_a_unit_is_seconds_in_ollama_keep_alive(text: str, duration: str) -> None:
    assert keep_alive(text) == duration


def test_an_ollamas_variables_configure_an_adapter_without_a_file() -> None:
    environment = {"OLLAMA_HOST": '":11500"', "OLLAMA_ORIGINS": "https://a.example, app://b", "OLLAMA_KEEP_ALIVE": "-1"}
    settings = load(None, environment)
    assert (settings.server.host, settings.server.port) == ("", 11500)
    assert settings.server.origins == ["https://a.example", "app://b"]
    assert settings.vllm.keep_alive == "-1s"


def test_what_the_file_or_the_adapters_own_variables_say_wins(tmp_path: Path) -> None:
    file = tmp_path / "adapter.toml"
    file.write_text(
        '[server]\nhost = "10.0.0.1"\nport = 1\n[vllm]\naliases = ["a"]\n'
        '[[models]]\naliases = ["b"]\nkeep_alive = "1m"\n[[models]]\naliases = ["c"]\n'
    )
    ollamas = {"OLLAMA_HOST": "0.0.0.0:2", "OLLAMA_ORIGINS": "*", "OLLAMA_KEEP_ALIVE": "1h"}
    settings = load(file, {**ollamas, "OLLAMA_ADAPTER_SERVER_PORT": "3", "OLLAMA_ADAPTER_SERVER_ORIGINS": "app://x"})
    assert (settings.server.host, settings.server.port, settings.server.origins) == ("10.0.0.1", 3, ["app://x"])
    assert [model.keep_alive for _, model in settings.named_models()] == ["1h", "1m", "1h"]


@pytest.mark.parametrize("name", ["OLLAMA_HOST", "OLLAMA_ORIGINS", "OLLAMA_KEEP_ALIVE"])
def test_an_empty_variable_says_nothing(name: str) -> None:
    assert load(None, {name: " "}) == Settings()


def test_what_ollama_does_not_understand_is_the_default_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    settings = load(None, {"OLLAMA_HOST": "127.0.0.1:many", "OLLAMA_KEEP_ALIVE": "soon"})
    assert settings == Settings()
    assert "OLLAMA_HOST: 'many' is not a port, 11434 is taken" in caplog.text
    assert 'OLLAMA_KEEP_ALIVE: time: invalid duration "soon"; the default is taken' in caplog.text


def test_every_address_is_ipv4_where_the_kernel_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: Any, *, family: int, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(address, family=family, **options)

    found = [(socket.AF_INET, 1, 6, "", ("0.0.0.0", 0)), (socket.AF_INET6, 1, 6, "", ("::", 0, 0, 0))]
    monkeypatch.setattr(socket, "create_server", without_ipv6)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    opened = listening_sockets(ServerSettings(host="", port=0))
    assert [one.family for one in opened] == [socket.AF_INET]
    for one in opened:
        one.close()
