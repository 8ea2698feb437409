"""What clients ask for, and how they behave. All of it follows from the seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.soak.accounting import Shape

Build = Callable[[Random], dict[str, Any]]
OK = frozenset({200})


@dataclass(frozen=True)
class Models:
    """Names of the models that are asked for."""

    text: str
    vision: str
    embedding: str


@dataclass(frozen=True)
class Request:
    """One request, without its id."""

    kind: str
    method: str
    path: str
    body: bytes
    shape: Shape
    expected: frozenset[int] = OK


@dataclass(frozen=True)
class Manner:
    """How a client behaves. With neither limit it stays to the end."""

    drop_after_s: float | None = None
    drop_after_bytes: int | None = None
    resets: bool = False  # a drop is a RST instead of a FIN
    is_slow: bool = False  # reads a little at a time
    reuses: bool = True  # takes a connection that an earlier request left open

    @property
    def drops(self) -> bool:
        return self.drop_after_s is not None or self.drop_after_bytes is not None


PATIENT = Manner()


@dataclass(frozen=True)
class Kind:
    """A sort of request: how often it comes, and what `build` puts into its body (None: no body)."""

    name: str
    weight: int
    path: str
    shape: Shape
    build: Build | None
    expected: frozenset[int] = OK
    needs: str = ""  # "vision" or "v1": left out where the host has none

    def request(self, random: Random) -> Request:
        """A request of this kind."""
        body = b"" if self.build is None else json.dumps(self.build(random)).encode()
        method = "GET" if self.build is None else "POST"
        return Request(self.name, method, self.path, body, self.shape, self.expected)


def prompt(random: Random) -> str:
    """A few words, or many; umlauts and emoji among them."""
    words = ("What", "does", "the", "fox", "do", "today", "Füchse", "🦊", "42")
    return " ".join(random.choice(words) for _ in range(random.choice((1, 3, 8, 60))))


def options(random: Random) -> dict[str, Any]:
    """Sampling options as clients send them."""
    chosen: dict[str, Any] = {"seed": random.randrange(1000)}
    if random.random() < 0.4:
        chosen["num_predict"] = random.choice((1, 2, 5, 50))
    if random.random() < 0.3:
        chosen["temperature"] = random.choice((0, 0.7, 1.5))
    if random.random() < 0.1:
        chosen["stop"] = ["lazy", "cat", "x", "y", "z"]
    return chosen


def long_options(random: Random) -> dict[str, Any]:
    """Options for an answer of hundreds of tokens.

    The lab's model ends after ten words. A repeat penalty that takes away what the prompt has makes every next token
    as likely as any other, and with `</s>` in the prompt that goes for the end too: one token of about 450.
    """
    return {
        "temperature": 2,
        "repeat_penalty": 1000,
        "num_predict": random.choice((300, 700, 1500)),
        "seed": random.randrange(10**6),
    }


def kinds(models: Models) -> list[Kind]:
    """Every sort of request."""
    text = {"model": models.text}

    def generate(stream: bool) -> Build:
        return lambda random: {**text, "prompt": prompt(random), "stream": stream, "options": options(random)}

    def chat(stream: bool, **more: Any) -> Build:
        return lambda random: {
            **text,
            "messages": [{"role": "user", "content": prompt(random)}],
            "stream": stream,
            "options": options(random),
            **more,
        }

    def v1_chat(stream: bool) -> Build:
        return lambda random: {**text, "messages": [{"role": "user", "content": prompt(random)}], "stream": stream}

    def fixed(**fields: Any) -> Build:
        return lambda _: fields

    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tool = {"type": "function", "function": {"description": "The weather", **weather}}
    return [
        Kind("generate, streamed", 14, "/api/generate", Shape.LINES, generate(True)),
        Kind("generate", 10, "/api/generate", Shape.FINAL, generate(False)),
        Kind("chat, streamed", 14, "/api/chat", Shape.LINES, chat(True)),
        Kind("chat", 10, "/api/chat", Shape.FINAL, chat(False)),
        Kind("long generate", 6, "/api/generate", Shape.LINES, long_generate(models)),
        Kind("long chat, whole", 2, "/api/chat", Shape.FINAL, lambda random: {**long_chat(models, random), "stream": False}),
        Kind("JSON", 2, "/api/chat", Shape.FINAL, chat(False, format="json")),
        Kind("tools", 1, "/api/chat", Shape.LINES, chat(True, tools=[tool]), frozenset({200, 400})),
        Kind("load", 1, "/api/generate", Shape.FINAL, fixed(**text)),
        Kind("show", 3, "/api/show", Shape.OBJECT, fixed(**text)),
        Kind("tags", 4, "/api/tags", Shape.OBJECT, None),
        Kind("ps", 3, "/api/ps", Shape.OBJECT, None),
        Kind("version", 2, "/api/version", Shape.OBJECT, None),
        Kind("health", 1, "/health", Shape.OBJECT, None),
        Kind("unknown model", 2, "/api/chat", Shape.LINES, fixed(model="nobody", messages=[]), frozenset({404})),
        Kind(
            "embed, passed on", 6, "/api/embed", Shape.OBJECT,
            lambda random: {"model": models.embedding, "input": [prompt(random)] * random.choice((1, 1, 8))},
            needs="vision",
        ),
        Kind(
            "generate, passed on", 3, "/api/generate", Shape.LINES,
            lambda random: {"model": models.vision, "prompt": prompt(random)}, needs="vision",
        ),
        Kind("v1 chat, streamed", 4, "/v1/chat/completions", Shape.EVENTS, v1_chat(True), needs="v1"),
        Kind("v1 chat", 3, "/v1/chat/completions", Shape.OBJECT, v1_chat(False), needs="v1"),
    ]  # fmt: skip


def long_generate(models: Models) -> Build:
    """A streamed answer of hundreds of tokens."""
    return lambda random: {"model": models.text, "prompt": f"{prompt(random)}</s>", "options": long_options(random)}


def long_chat(models: Models, random: Random) -> dict[str, Any]:
    """The same as a conversation."""
    messages = [{"role": "user", "content": f"{prompt(random)}</s>"}]
    return {"model": models.text, "messages": messages, "options": long_options(random)}


def long_kind(models: Models) -> Kind:
    """The kind of the streams that are always there."""
    return Kind("standing stream", 0, "/api/chat", Shape.LINES, lambda random: long_chat(models, random))


def witness_kind(models: Models) -> Kind:
    """The kind that is surely in the middle of its answer when vLLM goes: the grammar has it write 200 numbers."""
    numbers = {"type": "array", "items": {"const": 42}, "minItems": 200, "maxItems": 200}
    body = {"model": models.text, "messages": [{"role": "user", "content": "Numbers"}], "format": numbers}
    return Kind("witness", 0, "/api/chat", Shape.LINES, lambda _: body)


def probe_kind(models: Models) -> Kind:
    """The kind that finds out whether text is served."""
    body = {"model": models.text, "prompt": "Hello", "stream": False, "options": {"num_predict": 2}}
    return Kind("probe", 0, "/api/generate", Shape.FINAL, lambda _: body)


def manner(random: Random) -> Manner:
    """One client in four goes away, early or in the middle, half of them rudely; one in ten reads slowly."""
    if random.random() < 0.25:
        resets = random.random() < 0.5
        if random.random() < 0.5:
            return Manner(drop_after_s=random.choice((0.0, 0.01, 0.05, 0.3, 1.5)), resets=resets, reuses=False)
        return Manner(drop_after_bytes=random.choice((1, 200, 2_000, 20_000)), resets=resets, reuses=False)
    return Manner(is_slow=random.random() < 0.1, reuses=random.random() < 0.5)
