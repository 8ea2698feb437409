"""The deterministic miniature model of the lab, without weights: tokenizer, templates and answers written out.

The real one (`make_model.py` of the lab) is a Llama whose next token depends on the last token only. This stand-in
gives the same texts, token counts and token ids, which the recordings of Ollama hold against both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

BOS, EOS = 1, 2
CONTEXT = 2048

_MARKERS = (
    "<|user|>", "<|system|>", "<|assistant|>", "<|tools|>", "<|think|>", "<|end|>",
    "<|fim_pre|>", "<|fim_suf|>", "<|fim_mid|>",
)  # fmt: skip
_CHAINS: dict[str, tuple[str, ...]] = {
    "<|assistant|>": (" The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", "."),
    "json": ('{"', "answer", '":', " 42", "}"),
    "<|tools|>": ('{"name', '": "', "get_weather", '", "parameters', '": {"', "city", '": "P', "aris", '"}}'),
    "<|think|>": ("<think>", " Let", " me", " ponder", "</think>", " Answer", " is", " ready", "!"),
    "<|fim_mid|>": (" middle", " part", ";"),
}
_CHARACTERS = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PIECES = (
    "<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_MARKERS,
    *(piece for chain in _CHAINS.values() for piece in chain), *_CHARACTERS,
)  # fmt: skip
_IDS = {piece: number for number, piece in enumerate(_PIECES)}
_FOUND_IN_TEXT = re.compile("|".join(map(re.escape, (*_MARKERS, "<s>", "</s>", '{"', '":'))) + "|.", re.DOTALL)
_DEFAULT_SYSTEM = {"tools": "You are a tool caller."}


@dataclass(frozen=True)
class Token:
    """A token of an answer; `text` is empty for the end of the text."""

    number: int
    text: str


def tokenize(text: str, *, special: bool) -> list[int]:
    """Markers whole, the rest by character, by byte where a character has no token; BOS in front if asked for."""
    ids = [BOS] if special else []
    for match in _FOUND_IN_TEXT.finditer(text):
        piece = match.group()
        number = _IDS.get(piece)
        if number is None:
            ids += (3 + byte for byte in piece.encode())
        else:
            ids.append(number)
    return ids


def detokenize(ids: list[int]) -> str:
    """The text of tokens, special ones included; bytes that make no character are replaced."""
    pieces = (bytes([number - 3]) if 3 <= number < 259 else _PIECES[number].encode() for number in ids)
    return b"".join(pieces).decode("utf-8", "replace")


def answer(prompt_ids: list[int], *, as_json: bool) -> list[Token]:
    """What the model says after a prompt, the end of the text included."""
    last = _PIECES[prompt_ids[-1]]
    if as_json:
        pieces = _CHAINS["json"]
    elif last in _CHAINS and last != "<|assistant|>":
        pieces = _CHAINS[last]
    else:
        pieces = next(
            (chain[chain.index(last) + 1 :] for chain in _CHAINS.values() if last in chain), _CHAINS["<|assistant|>"]
        )
    return [Token(_IDS[piece], piece) for piece in pieces] + [Token(EOS, "")]


def render(variant: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, thinks: bool) -> str:
    """A conversation as the chat template of a variant renders it, BOS left out."""
    turns = _collated(messages, _DEFAULT_SYSTEM.get(variant, ""))
    if variant == "think":
        return "".join(f"<|user|>{turn['content']}" for turn in turns) + ("<|think|>" if thinks else "<|assistant|>")
    return _render_tools(turns, tools) if variant == "tools" else _render_plain(turns)


def _collated(messages: list[dict[str, Any]], default_system: str) -> list[dict[str, Any]]:
    if default_system and (not messages or messages[0]["role"] != "system"):
        messages = [{"role": "system", "content": default_system}, *messages]
    turns: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content") or ""
        if turns and turns[-1]["role"] == message["role"] != "tool":
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n\n{content}"}
        else:
            turns.append({**message, "content": content})
    return turns


def _render_plain(turns: list[dict[str, Any]]) -> str:
    text, exchange = "", {"system": "", "user": "", "assistant": ""}

    def rendered() -> str:
        system = f"<|system|>{exchange['system']}" if exchange["system"] else ""
        prompt = f"<|user|>{exchange['user']}" if exchange["user"] else ""
        return f"{system}{prompt}<|assistant|>{exchange['assistant']}"

    for turn in turns:
        role = turn["role"]
        if (role == "system" and (exchange["user"] or exchange["assistant"])) or (
            role == "user" and exchange["assistant"]
        ):
            text += rendered()
            exchange = {"system": "", "user": "", "assistant": ""}
        if role in exchange:
            exchange[role] = turn["content"]
    return text + rendered()


def _go_json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _declaration(tool: dict[str, Any]) -> str:
    function = tool["function"]
    parameters = function.get("parameters") or {}
    names = ("anyOf", "type", "items", "description", "enum", "properties", "required")
    properties = ",".join(
        f"{_go_json(name)}:{{" + ",".join(f'"{key}":{_go_json(value[key])}' for key in names if value.get(key)) + "}"
        for name, value in sorted((parameters.get("properties") or {}).items())
    )
    required = f'"required":{_go_json(parameters["required"])},' if parameters.get("required") else ""
    return (
        f'{{"type":{_go_json(tool["type"])},"function":{{"name":{_go_json(function["name"])},'
        f'"description":{_go_json(function.get("description", ""))},'
        f'"parameters":{{"type":{_go_json(parameters.get("type", ""))},{required}"properties":{{{properties}}}}}}}}}'
    )


def _render_tools(turns: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    text = ""
    for turn in turns:
        role = turn["role"]
        if role in ("user", "system", "assistant"):
            text += f"<|{role}|>{turn['content']}"
        elif role == "tool":
            text += f"<|tools|>{turn['content']}"
        for call in turn.get("tool_calls") or ():
            arguments = json.loads(call["function"]["arguments"])
            text += f'{{"name": "{call["function"]["name"]}", "parameters": {_go_json(arguments)}}}'
    if tools:
        return text + "[" + ",".join(map(_declaration, tools)) + "]<|tools|>"
    return text + "<|assistant|>"
