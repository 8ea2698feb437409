"""Where the controller has a secret – a command, a file or a variable – and how it is read there. Nothing here goes to a host.

A command runs once per process, however many hosts ask: a password manager may ask a person. What it prints is in no message.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

COMMAND_TIMEOUT_S = 60.0  # a person may have to type a passphrase
LIMIT = 64 * 1024  # bytes; what prints more is no password manager
LOOK_S = 0.05
TOKEN = re.compile(r"[!-~]+")  # what fits a header: visible ASCII, no blank
PASTED = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


@dataclass(frozen=True)
class SecretSource:
    """Where a secret is on the controller: what the command prints, else what is in the file, else in the variable.

    key: of its settings, without the last word, such as "vllm.hub_token". The settings refuse a command beside a file.
    what: the secret is, for messages.
    """

    key: str
    variable: str
    file: str | None = None
    command: tuple[str, ...] = ()
    what: str = "token"

    @property
    def setting(self) -> str:
        """The setting that decides, such as "vllm.hub_token_file"."""
        return f"{self.key}_{'command' if self.command else 'file' if self.file else 'variable'}"

    @property
    def place(self) -> str:
        """The command as a shell would take it, the file, or the variable; for messages."""
        return f"`{shlex.join(self.command)}`" if self.command else self.file or self.variable

    def remedy(self, example: str) -> str:
        """How to give another secret from the same place. :param example: such as "hf_…"."""
        if self.command:
            return f"correct what {self.place} prints ({self.setting})"
        return (
            f"correct the {self.what} in {self.file} ({self.setting})"
            if self.file
            else f"export {self.variable}={example}"
        )


class SecretError(Exception):
    """A secret that cannot be read: `key` the setting, `cause`, and `remedy`, what to do next. Never the secret."""

    def __init__(self, key: str, cause: str, remedy: str) -> None:
        super().__init__(f"{key}: {cause}; {remedy}")
        self.key, self.cause, self.remedy = key, cause, remedy


class _Failed(Exception):
    """Why a command gave no secret."""


@dataclass(frozen=True)
class _Outcome:
    """What came of a command: `text`, or a `problem` that is not ""."""

    text: str = field(default="", repr=False)
    problem: str = ""


_outcomes: dict[tuple[str, ...], _Outcome] = {}
_asking = threading.Lock()  # pyinfra prepares hosts side by side, and two questions to a person would mix


def read_secret(source: SecretSource) -> str | None:
    """The secret; None when the file or the variable is empty.

    Raises SecretError when a file cannot be read, a command fails or prints nothing, or the text is not one visible word.
    """
    if source.command:
        text = _said_by(source)
    elif source.file:
        text = _content_of(source)
    else:
        text = os.environ.get(source.variable, "").strip()
    if text and not TOKEN.fullmatch(text):
        lines = len(text.splitlines())
        cause = f"has {lines} lines" if lines > 1 else f"has a blank or a character that no {source.what} has"
        raise SecretError(
            source.setting, f"what {source.place} gives {cause}", f"a {source.what} is one word: {_next(source)}"
        )
    return text or None


def _next(source: SecretSource) -> str:
    if source.command:
        return f"run {source.place} on this machine, it must print the {source.what} alone; correct {source.setting}"
    return source.remedy("…")


def _content_of(source: SecretSource) -> str:
    remedy = f"name a file on this machine with {source.setting} that you can read"
    try:
        return Path(source.file or "").expanduser().read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise SecretError(source.setting, str(problem), remedy) from None
    except UnicodeDecodeError:  # it holds what was read
        raise SecretError(source.setting, f"{source.file} is not text", remedy) from None
    except RuntimeError as problem:  # ~somebody who is not there
        raise SecretError(source.setting, f"{source.file}: {problem}", remedy) from None


def _said_by(source: SecretSource) -> str:
    with _asking:
        if source.command not in _outcomes:
            _outcomes[source.command] = _outcome_of(source.command)
        outcome = _outcomes[source.command]
    if outcome.problem:
        raise SecretError(source.setting, f"{source.place} {outcome.problem}", _next(source))
    return outcome.text


def _outcome_of(command: tuple[str, ...]) -> _Outcome:
    try:
        text = _output_of(command, COMMAND_TIMEOUT_S).decode("utf-8").strip()
    except _Failed as problem:
        return _Outcome(problem=str(problem))
    except UnicodeDecodeError:
        return _Outcome(problem="printed what is not text")
    return _Outcome(text) if text else _Outcome(problem="ended well and printed nothing")


def _output_of(command: tuple[str, ...], timeout_s: float) -> bytes:
    """What the command prints. Raises _Failed, without a word of it.

    Only somebody at a terminal is asked, and sees what it says beside the secret; else it has no input and is not heard.
    """
    person = os.isatty(0) and os.isatty(2)
    quiet = None if person else subprocess.DEVNULL
    reading, writing = os.pipe()
    try:
        # In a session of its own it is ended with all that it started; at a terminal that would take the terminal from it.
        process = subprocess.Popen(command, stdin=quiet, stdout=writing, stderr=quiet, start_new_session=not person)
    except (FileNotFoundError, NotADirectoryError):
        os.close(reading)
        raise _Failed(f"cannot be run: there is no program {command[0]} on this machine") from None
    except (OSError, ValueError) as problem:
        os.close(reading)
        raise _Failed(f"cannot be run: {getattr(problem, 'strerror', None) or problem}") from None
    finally:
        os.close(writing)
    try:
        said = _read_to_its_end(process, reading, time.monotonic() + timeout_s)
    except TimeoutError:
        raise _Failed(f"had not ended after {timeout_s:g} s") from None
    finally:
        os.close(reading)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill() if person else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode < 0:
        raise _Failed(f"was ended by signal {-process.returncode}")
    if process.returncode:
        raise _Failed(f"ended with status {process.returncode}")
    return said


def _read_to_its_end(process: subprocess.Popen[bytes], reading: int, end: float) -> bytes:
    """Output up to the end of the process itself: what it left in the background, as an agent, may keep the pipe open.

    Raises TimeoutError, or _Failed when there is too much.
    """
    said = b""
    while True:
        ended = process.poll() is not None  # looked at first, so that nothing of its last words is missed
        if select.select([reading], [], [], 0 if ended else LOOK_S)[0]:
            chunk = os.read(reading, LIMIT)
            said += chunk
            if len(said) > LIMIT:
                raise _Failed(f"printed more than {LIMIT} bytes")
            if not chunk and not ended:  # closed, and still at work
                time.sleep(LOOK_S)
            if chunk and ended:
                continue
        if ended:
            return said
        if time.monotonic() >= end:
            raise TimeoutError


def _list(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('must be a list of words, such as ["pass", "show", "hub/token"]; no shell reads it')
    return () if value is None else value


def _runnable(words: tuple[str, ...]) -> tuple[str, ...]:
    if words and not words[0].strip():
        raise ValueError("must begin with a program")
    if any("\0" in word for word in words):
        raise ValueError("must have no NUL character")
    if any(PASTED.search(word) for word in words):
        raise ValueError("holds what looks like a token, and messages show the command; say where the token is")
    return words


def _no_token(file: str | None) -> str | None:
    if file and PASTED.match(file):
        raise ValueError("looks like the token itself, and messages show this setting; name a file that holds it")
    return file or None


# Types of the settings, for every secret.
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$")]
SecretFile = Annotated[str | None, AfterValidator(_no_token)]
SecretCommand = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=False)], ...],
    BeforeValidator(_list),
    AfterValidator(_runnable),
]
