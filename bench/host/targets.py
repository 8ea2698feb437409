"""The servers that are measured: who they are, and one request to one of them."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from bench.host import identity
from bench.host.apis import OLLAMA, Ask, BadAnswer, NoRightAnswer, Reading, decoded, request_of, short
from bench.host.cache import CacheCount, cache_count
from bench.host.identity import Identity
from bench.host.summary import CUT_OFF, OK, Answer, Cell, inter_token_ms
from bench.host.wire import Base, Client, WireError

MODEL = "llama2:7b"  # the guide's


class Absent(Exception):
    """A target that cannot be measured. The text has its URL, the cause and the next command."""


@dataclass(frozen=True)
class Target:
    """A server. `api` is OLLAMA or OPENAI; an empty model: the only one it has."""

    name: str
    api: str
    base: Base
    model: str = ""
    key: str = ""

    def client(self) -> Client:
        """A client with a connection of its own."""
        return Client(self.base, self.key)


async def identified(target: Target) -> Identity:
    """Ask a target for its model.

    :raises Absent: it does not say.
    """
    client = target.client()
    try:
        if target.api == OLLAMA:
            names = [
                str(one.get("name", "")) for one in await _listed(client, "/api/tags", "models") if _generates(one)
            ]
            name = identity.chosen(names, target.model or MODEL)
            shown = await _object(client, "POST", "/api/show", b'{"model":%s}' % _quoted(name))
            return identity.of_ollama(name, shown)
        entries = [one for one in await _listed(client, "/v1/models", "data") if not one.get("parent")]
        # vLLM lists each further name of its model as an entry.
        roots = {str(one.get("root") or one.get("id")) for one in entries}
        names = [str(one.get("id", "")) for one in entries]
        name = names[0] if len(roots) == 1 and not target.model else identity.chosen(names, target.model or MODEL)
        return identity.of_openai(next(one for one in entries if one.get("id") == name))
    except NoRightAnswer as error:
        raise Absent(absence(target, str(error))) from None
    except LookupError as error:
        option = "--model" if target.api == OLLAMA else "--vllm-model"
        raise Absent(
            f"{target.name}, {target.base.url}: {error.args[0]}\n  next: say which with {option} NAME"
        ) from None
    finally:
        client.close()


def absence(target: Target, cause: str) -> str:
    """What is wrong with a target, and what to do next."""
    path = "/api/tags" if target.api == OLLAMA else "/v1/models"
    unit = {"adapter": "ollama-adapter vllm", "phase1": "ollama-text"}.get(target.name, "vllm")
    return (
        f"{target.name}, {target.base.url}: {cause}\n"
        f"  next: curl -i {target.base.url}{path}; on the host: systemctl status {unit}; llm-phase"
    )


async def cache_of(target: Target) -> CacheCount | None:
    """What a vLLM says of its prefix cache; None of other servers, and where it says nothing."""
    if target.api == OLLAMA:
        return None
    client = target.client()
    try:
        status, body = await client.fetch("GET", "/metrics")
    except WireError:
        return None
    finally:
        client.close()
    return cache_count(body.decode("utf-8", "replace")) if status == 200 else None


async def answer(
    target: Target, model: str, client: Client, cell: Cell, number: int, ask: Ask, begun_ns: int, timeout_s: float
) -> Answer:
    """Ask once. Errors are in the answer; a cancelled request is `cut-off`, and the cancellation ends here."""
    path, body = request_of(target.api, model, ask)
    reading = Reading(target.api, ask.stream)
    asked_ns = perf_counter_ns()
    kind, detail = OK, ""
    try:
        reading.finish(await client.ask("POST", path, body, reading.feed, timeout_s))
    except NoRightAnswer as error:
        kind, detail = error.kind, error.detail
        client.close()
    except asyncio.CancelledError:
        kind, detail = CUT_OFF, "the run ended before the answer did"
    over_ns = perf_counter_ns()
    times = reading.content_ns
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return Answer(
        target.name, cell.workload, cell.concurrency, cell.stream, number, round((asked_ns - begun_ns) / 1e9, 4), kind, detail,
        e2e_ms=(over_ns - asked_ns) / 1e6 if kind == OK else None,
        ttft_ms=(times[0] - asked_ns) / 1e6 if times else None,
        itl_ms=inter_token_ms(times[0], over_ns, reading.answer_tokens) if times and kind == OK else None,
        largest_gap_ms=max(gaps) / 1e6 if gaps else None,
        prompt_tokens=reading.prompt_tokens, answer_tokens=reading.answer_tokens, cached_tokens=reading.cached_tokens,
        pieces=len(times), ended=reading.ended,
    )  # fmt: skip


async def _listed(client: Client, path: str, key: str) -> list[dict[str, Any]]:
    found = (await _object(client, "GET", path, b"")).get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


async def _object(client: Client, method: str, path: str, body: bytes) -> dict[str, Any]:
    status, said = await client.fetch(method, path, body)
    if status != 200:
        raise BadAnswer(f"http-{status}", f"{method} {path}: {short(said)}")
    return decoded(said)


def _generates(entry: dict[str, Any]) -> bool:
    """Whether a model of /api/tags generates; an Ollama that does not tell is believed to."""
    told = entry.get("capabilities")
    return not isinstance(told, list) or "completion" in told


def _quoted(name: str) -> bytes:
    return json.dumps(name).encode()
