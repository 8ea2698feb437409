"""Finds out about a model, in the background: asks vLLM, and reads the model's directory where it can.

At the start, and again when vLLM comes back after it was down, or serves something else. Requests never wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..http.guards import is_loopback
from ..settings import VllmSettings
from ..upstream.fetching import Fetched, fetch
from .backend import Backend
from .directory import DirectoryFacts, read_directory
from .facts import ServedFacts, known_template, may_think

_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 60.0  # of the one small generation
_READ_TIMEOUT_S = 60.0
_LOOK_AGAIN_S = 60.0
_RETRY_S = 2.0
# A few tokens are enough to see whether an answer begins with thoughts.
_THINKING_TOKENS = 16
_CHAT_PATH = b"/v1/chat/completions"

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class NoAnswer(Exception):
    """vLLM went away between two questions."""


class FactFinder:
    """Keeps the facts of one backend up to date."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._task: asyncio.Task[None] | None = None
        self._is_needed = not knows_all(backend.settings)
        self._next_look = 0.0
        self._seen_failures = 0
        self._found: tuple[int, str] | None = None  # what vLLM said when the facts were read

    def sweep(self, now: float) -> None:
        """Called once a second: looks whether it is time to look."""
        if not self._is_needed or (self._task is not None and not self._task.done()):
            return
        failures = self._failures()
        if failures != self._seen_failures:  # a request met a vLLM that was away
            self._seen_failures = failures
            self._next_look = min(self._next_look, now)
        if now >= self._next_look:
            self._task = asyncio.get_running_loop().create_task(self._look())

    def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()

    def _failures(self) -> int:
        return sum(upstream.failed_connections for upstream in self._backend.upstream.upstreams)

    async def _look(self) -> None:
        try:
            served = served_model(await self._ask("GET", b"/v1/models"), self._backend.settings.served_model)
            said = (served.max_model_len, served.root)
            if said != self._found:
                await self._find(served)
                self._found = said
        except NoAnswer:
            self._found = None  # what comes back may have been started in another way
        except Exception:  # the facts that are known stay; a mistake here must not end anything
            _log.exception("the facts about %s could not be read", self._backend.settings.served_model)
        self._seen_failures = self._failures()
        wait_s = _RETRY_S if self._found is None else _LOOK_AGAIN_S
        self._next_look = asyncio.get_running_loop().time() + wait_s

    async def _find(self, served: ServedFacts) -> None:
        directory = await self._directory(served.root)
        if not self._backend.settings.capabilities:
            served = await self._probed(served, directory)
        self._backend.learn(directory, served)

    async def _probed(self, served: ServedFacts, directory: DirectoryFacts | None) -> ServedFacts:
        """The same with what the model can do."""
        # GET on a route that has only POST: 405 where it exists, 404 where this model has none (0.32.0, measured).
        generates = (await self._ask("GET", _CHAT_PATH)).status == 405
        embeds = (await self._ask("GET", b"/v1/embeddings")).status == 405
        template = template_in(await self._ask("GET", b"/tokenizer_info"))
        served = replace(served, generates=generates, embeds=embeds, chat_template=template)
        if not generates:
            return served
        name = self._backend.settings.served_model
        tools = takes_tools(await self._ask("POST", _CHAT_PATH, tools_question(name)))
        thinks = False
        if may_think(known_template(directory, served)):
            thinks = has_thought(await self._ask("POST", _CHAT_PATH, thinking_question(name)))
        return replace(served, takes_tools=tools, thinks=thinks)

    async def _directory(self, root: str) -> DirectoryFacts | None:
        settings = self._backend.settings
        path = settings.model_directory or (root if _is_here(settings.url) and root.startswith("/") else "")
        if not path:
            return None
        loop = asyncio.get_running_loop()
        done: asyncio.Future[DirectoryFacts | None] = loop.create_future()

        def read() -> None:
            facts = read_directory(Path(path))
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_hand_over, done, facts)

        # A daemon, not the loop's executor: a file system that hangs must not keep the process from ending.
        threading.Thread(target=read, name="model directory", daemon=True).start()
        try:
            return await asyncio.wait_for(done, _READ_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError):
            _log.warning("%s could not be read within %g s", path, _READ_TIMEOUT_S)
            return None

    async def _ask(self, method: str, path: bytes, question: dict[str, Any] | None = None) -> Fetched:
        """:raises NoAnswer: there was none, or one that says that vLLM is not well."""
        done: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        call = fetch(
            self._backend.upstream,
            method.encode(),
            path,
            done.set_result,
            _ANSWER_TIMEOUT_S if question else _TIMEOUT_S,
            body=_encoder.encode(question) if question else b"",
        )
        try:
            answer = await done
        except asyncio.CancelledError:
            call.abort()
            raise
        if not answer.status or answer.status >= 500:
            raise NoAnswer
        return answer


def knows_all(settings: VllmSettings) -> bool:
    """Whether the settings leave nothing to find: then nobody is asked."""
    wanted = ("capabilities", "context_length", "embedding_length", "size_bytes", "family", "parameter_size")
    return all(getattr(settings, name) for name in (*wanted, "quantization"))


def _hand_over(done: asyncio.Future[DirectoryFacts | None], facts: DirectoryFacts | None) -> None:
    if not done.done():
        done.set_result(facts)


def served_model(answer: Fetched, name: str) -> ServedFacts:
    """What vLLM's `/v1/models` says about a model.

    :raises NoAnswer: the model is not there.
    """
    entries = _member(answer, "data")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("id") == name:
            length, root = entry.get("max_model_len"), entry.get("root")
            return ServedFacts(length if isinstance(length, int) else 0, root if isinstance(root, str) else "")
    raise NoAnswer


def template_in(answer: Fetched) -> str | None:
    """The chat template in an answer of `/tokenizer_info`, which vLLM has only if started with it; else None."""
    template = _member(answer, "chat_template")
    return template if isinstance(template, str) else None


def tools_question(name: str) -> dict[str, Any]:
    """A request with a tool that vLLM refuses in any case, before it generates anything: see `takes_tools`."""
    function = {"name": "probe", "parameters": {"type": "object", "properties": {}}}
    return {
        "model": name,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": function}],
        "max_tokens": 2**30,
    }


def takes_tools(answer: Fetched) -> bool:
    """Whether vLLM was started for tools. If not, it says so; if it was, it goes on to find `max_tokens` too large
    (0.32.0, measured)."""
    return answer.status == 200 or (answer.status == 400 and b"max_tokens" in answer.body)


def thinking_question(name: str) -> dict[str, Any]:
    """A request for the first tokens of an answer with thoughts: whether vLLM has a reasoning parser shows in answers
    only."""
    return {
        "model": name,
        "messages": [{"role": "user", "content": "hi"}],
        "chat_template_kwargs": {"enable_thinking": True, "thinking": True},
        "max_tokens": _THINKING_TOKENS,
        "temperature": 0,
    }


def has_thought(answer: Fetched) -> bool:
    """Whether vLLM put the beginning of an answer apart as thoughts."""
    choices = _member(answer, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and bool(message.get("reasoning") or message.get("reasoning_content"))


def _member(answer: Fetched, name: str) -> Any:
    try:
        decoded = msgspec.json.decode(answer.body) if answer.is_ok else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return decoded.get(name) if isinstance(decoded, dict) else None


def _is_here(url: str) -> bool:
    """Whether vLLM runs on this machine, so that a path of its is one of ours."""
    host = urlsplit(url).hostname or ""
    return is_loopback(host)
