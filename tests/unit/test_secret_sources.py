"""Reading a secret on the controller: from a command, a file or a variable, and every way in which that fails."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roles import secret_sources
from roles.secret_sources import SecretError, SecretSource, read_secret
from roles.settings import SettingsError
from roles.site import site_from

SECRET = "planted-secret-4711"
KEY = "vllm.hub_token"


@pytest.fixture(autouse=True)
def a_process_that_asked_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And that has no terminal, whoever runs these tests."""
    monkeypatch.setattr(secret_sources, "_outcomes", {})
    monkeypatch.setattr(os, "isatty", lambda number: False)
    monkeypatch.delenv("HUB", raising=False)
    yield


def shell(script: str, *words: str) -> SecretSource:
    """A source whose command is a script of sh."""
    return SecretSource(KEY, "HUB", command=("sh", "-c", script, "sh", *words))


def refused(source: SecretSource) -> SecretError:
    with pytest.raises(SecretError) as raised:
        read_secret(source)
    return raised.value


def test_a_variable_is_read_and_an_empty_one_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SecretSource(KEY, "HUB")
    assert read_secret(source) is None
    monkeypatch.setenv("HUB", " \n")
    assert read_secret(source) is None
    monkeypatch.setenv("HUB", f"{SECRET}\n")
    assert read_secret(source) == SECRET


def test_a_file_is_read_and_an_empty_one_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "empty").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUB", "of-the-variable")
    assert read_secret(SecretSource(KEY, "HUB", str(tmp_path / "token"))) == SECRET
    assert read_secret(SecretSource(KEY, "HUB", "~/token")) == SECRET
    assert read_secret(SecretSource(KEY, "HUB", "~/empty")) is None


def test_a_command_is_run_without_a_shell_and_decides_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB", "of-the-variable")
    assert read_secret(SecretSource(KEY, "HUB", command=("printf", "%s\\n\\n", "$HUB;a'b"))) == "$HUB;a'b"


def test_the_source_says_which_setting_decides_and_how_to_give_another() -> None:
    for source, setting, place, remedy in (
        (SecretSource(KEY, "HUB"), "variable", "HUB", "export HUB=hf_…"),
        (SecretSource(KEY, "HUB", "/t"), "file", "/t", "correct the token in /t (vllm.hub_token_file)"),
        (
            SecretSource(KEY, "HUB", command=("pass", "show", "a b")),
            "command",
            "`pass show 'a b'`",
            "correct what `pass show 'a b'` prints (vllm.hub_token_command)",
        ),
    ):
        assert (source.setting, source.place, source.remedy("hf_…")) == (f"{KEY}_{setting}", place, remedy)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo {0}; echo {0} >&2; exit 3", "ended with status 3"),
        ("echo {0}; kill -TERM $$", "was ended by signal 15"),
        ("true", "ended well and printed nothing"),
        ("echo; echo ' '", "ended well and printed nothing"),
        ("echo {0}; printf '\\377'", "printed what is not text"),
        ("echo {0}; echo user: ann", "gives has 2 lines"),
        ("echo {0} is it", "has a blank or a character that no token has"),
        ("echo {0}ü", "has a blank or a character that no token has"),
        ("yes {0}", "printed more than 65536 bytes"),
    ],
)
def test_a_command_that_gives_no_token_is_refused_by_key_and_command_without_its_words(
    script: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text(SECRET)
    source = shell(script.format('"$(cat "$1")"'), str(tmp_path / "store"))
    problem = refused(source)
    assert problem.key == "vllm.hub_token_command"
    assert cause in problem.cause
    assert source.place in problem.cause
    assert f"run {source.place} on this machine" in problem.remedy
    assert "correct vllm.hub_token_command" in problem.remedy
    assert SECRET not in f"{problem} {problem!r} {problem.__cause__} {secret_sources._outcomes!r}"


def test_a_program_that_is_not_there_or_cannot_be_run_is_named(tmp_path: Path) -> None:
    problem = refused(SecretSource(KEY, "HUB", command=("no-such-manager", "show")))
    assert "cannot be run: there is no program no-such-manager on this machine" in problem.cause
    (tmp_path / "plain").write_text("x")
    assert "Permission denied" in refused(SecretSource(KEY, "HUB", command=(str(tmp_path / "plain"),))).cause


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_sources, "COMMAND_TIMEOUT_S", 0.5)
    began = time.monotonic()
    problem = refused(shell('echo $$ > "$1"; sleep 60 & echo $! >> "$1"; wait', str(tmp_path / "pids")))
    assert "had not ended after 0.5 s" in problem.cause
    assert time.monotonic() - began < 10
    for pid in (tmp_path / "pids").read_text().split():
        until = time.monotonic() + 10  # whose child was ended, it goes when init has seen it
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_command_that_closes_its_output_and_goes_on_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_sources, "COMMAND_TIMEOUT_S", 0.5)
    assert "had not ended" in refused(shell("exec >&-; exec sleep 60")).cause


def test_what_a_command_leaves_in_the_background_is_not_waited_for() -> None:
    began = time.monotonic()
    assert read_secret(shell(f"sleep 20 & echo {SECRET}")) == SECRET
    assert time.monotonic() - began < 10


def test_without_a_terminal_a_command_gets_no_input() -> None:
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        os.write(writing, b"meant-for-somebody-else\n")
        assert "printed nothing" in refused(SecretSource(KEY, "HUB", command=("head", "-n1"))).cause
        assert os.read(0, 100) == b"meant-for-somebody-else\n"
    finally:
        os.dup2(kept, 0)
        for number in (reading, writing, kept):
            os.close(number)


def test_at_a_terminal_a_command_may_ask_and_be_answered() -> None:
    program = (
        "from roles.secret_sources import *\n"
        "words = ('sh', '-c', 'echo Passphrase: >&2; read answer; echo token-for-$answer')\n"
        "print(read_secret(SecretSource('k', 'V', command=words)))"
    )
    person, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, text=True
        ) as process:
            shown = b""
            while b"Passphrase:" not in shown:
                shown += os.read(person, 1000)
            os.write(person, b"ann\n")
            assert process.communicate(timeout=30)[0] == "token-for-ann\n"
    finally:
        os.close(person)
        os.close(terminal)


@pytest.mark.parametrize("status", [0, 1])
def test_however_many_ask_a_command_runs_once_and_all_get_the_same(tmp_path: Path, status: int) -> None:
    log = tmp_path / "log"
    source = shell(f'echo asked >> "$1"; sleep 0.2; echo {SECRET}; exit {status}', str(log))
    got: list[str | None] = []

    def ask() -> None:
        try:
            got.append(read_secret(source))
        except SecretError as problem:
            got.append(problem.cause)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.read_text() == "asked\n"
    assert got == [SECRET if status == 0 else f"{source.place} ended with status 1"] * 20


def test_two_commands_are_two_secrets() -> None:
    assert read_secret(shell("echo one")) == "one"
    assert read_secret(shell("echo two")) == "two"


def test_a_file_that_cannot_be_read_is_refused_by_key_without_its_content(tmp_path: Path) -> None:
    bad = tmp_path / "bytes"
    bad.write_bytes(SECRET.encode() + b"\xff")
    two = tmp_path / "two"
    two.write_text(f"{SECRET}\nuser: ann\n")
    for file, cause in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (bad, "is not text"),
        (Path("~nobody-at-all/token"), "home directory"),
        (two, "has 2 lines"),
    ):
        problem = refused(SecretSource(KEY, "HUB", str(file)))
        assert problem.key == "vllm.hub_token_file"
        assert cause in problem.cause
        assert SECRET not in f"{problem} {problem.__context__}"
        assert KEY in problem.remedy


def test_a_variable_of_two_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB", f"{SECRET}\n{SECRET}")
    problem = refused(SecretSource(KEY, "HUB"))
    assert (problem.key, problem.cause) == ("vllm.hub_token_variable", "what HUB gives has 2 lines")
    assert "export HUB=" in problem.remedy


def problems(**settings: Any) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        site_from([settings], {})
    return raised.value.problems


PASTED = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    ("said", "key", "cause"),
    [
        ({"hub_token_command": "pass show hub"}, "vllm.hub_token_command", 'must be a list of words, such as ["pass",'),
        ({"hub_token_command": [""]}, "vllm.hub_token_command", "must begin with a program"),
        ({"hub_token_command": ["a\0b"]}, "vllm.hub_token_command", "must have no NUL character"),
        ({"hub_token_command": ["pass", 7]}, "vllm.hub_token_command[1]", "should be a valid string"),
        ({"hub_token_command": ["echo", PASTED]}, "vllm.hub_token_command", "holds what looks like a token"),
        ({"hub_token_file": PASTED}, "vllm.hub_token_file", "looks like the token itself"),
        ({"hub_token_variable": PASTED}, "vllm.hub_token_variable", "should match pattern"),
        ({"hub_token": PASTED}, "vllm.hub_token", "did you mean vllm.hub_token_file?"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_is_named_and_a_token_among_them_is_not_shown(
    said: dict[str, Any], key: str, cause: str
) -> None:
    (found,) = problems(vllm=said)
    assert found.startswith(f"{key}: ")
    assert cause in found
    assert PASTED not in found


def test_two_places_for_one_token_are_refused_and_none_takes_one_back() -> None:
    both = {"hub_token_file": "/t", "hub_token_command": ["pass"]}
    assert problems(vllm=both) == [
        "vllm.hub_token_command: vllm.hub_token_file names a place for the same token; set one of them to None"
    ]
    (found,) = problems(adapter={"require_token": True, "token_file": "/t", "token_command": ["pass"]})
    assert found.startswith("adapter.token_command: adapter.token_file")
    for layer in ({"vllm.hub_token_file": None}, {"vllm.hub_token_file": ""}):
        assert site_from([{"vllm": both}, layer], {}).vllm.hub_token.setting == "vllm.hub_token_command"
    assert site_from([{"vllm": both}, {"vllm.hub_token_command": None}], {}).vllm.hub_token.file == "/t"


def test_a_command_for_a_token_that_nobody_is_asked_for_is_refused() -> None:
    (found,) = problems(adapter={"token_command": ["pass"]})
    assert found.startswith("adapter.token_command: names a token, but adapter.require_token is false")
