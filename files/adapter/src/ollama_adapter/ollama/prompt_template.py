"""Prompts from templates in Go's notation, as Ollama makes them: its package `template`, in other words.

A template that has `.Messages` gets the whole conversation. Any other is rendered once for each exchange of system
text, prompt and response, and the last time only up to where the response stands: the model goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..go.template import Bounds, render
from ..go.template_nodes import Action, Branch, Command, Field, Node, Operand, Pipe, TemplateError, Text, Tree, Variable
from ..go.template_syntax import parse
from .template_data import message_value, tools_value

_RESPONSE = Action(Pipe(0, (Command(0, (Field(0, ("Response",)),)),)))
_DEFAULT_LEVEL = "medium"  # of a request that only says that the model shall think

Think = bool | str | None


@lru_cache(maxsize=32)
def parse_template(text: str) -> PromptTemplate:
    """Read a template, once for as long as it is in use.

    :raises TemplateError: it cannot be read.
    """
    return PromptTemplate(parse(text))


class PromptTemplate:
    """A template that has been read."""

    def __init__(self, tree: Tree) -> None:
        fields = frozenset(name.lower() for name in _names(tree.nodes))
        if not fields & {"messages", "response"}:
            tree = replace(tree, nodes=(*tree.nodes, _RESPONSE))
            fields |= {"response"}
        self._tree = tree
        self._until_response = replace(tree, nodes=_Cut().nodes(tree.nodes))
        self.fields = fields
        """The names that stand in it, in lower case: Ollama tells capabilities by them."""
        self.has_thinking_tags = _has_thinking_tags(tree.nodes)
        """Whether it writes thoughts between two texts: Ollama then takes the model for one that thinks."""

    def with_messages(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Iterable[Mapping[str, Any]] | None = None,
        think: Think = None,
    ) -> str:
        """The prompt of a conversation.

        :param messages: as `go.decode.Reading` reads them.
        :raises TemplateError: it cannot be rendered.
        """
        try:
            messages = _collated(messages)
            if "messages" not in self.fields:
                return self._exchanges(messages, think)
            system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
            data = {
                "System": system,
                "Messages": [message_value(message) for message in messages],
                "Tools": tools_value(tools or ()),
                "Response": "",
                **_thinking(think),
            }
            return render(self._tree, data)
        except RecursionError:
            raise TemplateError("template: a value is nested too deeply") from None

    def with_suffix(self, prompt: str, suffix: str, think: Think = None) -> str:
        """The prompt for what stands between two texts.

        :raises TemplateError: it cannot be rendered.
        """
        return render(self._tree, {"Prompt": prompt, "Suffix": suffix, "Response": "", **_thinking(think)})

    def _exchanges(self, messages: Iterable[Mapping[str, Any]], think: Think) -> str:
        text = ""
        now = {"System": "", "Prompt": "", "Response": ""}
        thinking = _thinking(think)
        bounds = Bounds()
        for message in messages:
            role, content = message["role"], message["content"]
            if (role in ("user", "system") and now["Response"]) or (role == "system" and now["Prompt"]):
                text += render(self._tree, {**now, **thinking}, bounds)
                now = {"System": "", "Prompt": "", "Response": ""}
            if role in _PARTS:
                now[_PARTS[role]] = content
        return text + render(self._until_response, {**now, **thinking}, bounds)


_PARTS = {"system": "System", "user": "Prompt", "assistant": "Response"}


def _thinking(think: Think) -> dict[str, Any]:
    level = think if isinstance(think, str) else _DEFAULT_LEVEL if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


def _collated(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages of one role in a row as one, an empty line between them; results of tools stay apart."""
    collated: list[dict[str, Any]] = []
    for message in messages:
        role, content = message.get("role", ""), message.get("content", "")
        if collated and collated[-1]["role"] == role != "tool":
            collated[-1]["content"] += f"\n\n{content}"
        else:
            collated.append({**message, "role": role, "content": content})
    return collated


def _names(nodes: Iterable[Node]) -> Iterator[str]:
    """The names of fields and variables, not those behind a parenthesis: Ollama does not see these either."""
    for node in nodes:
        if isinstance(node, (Action, Branch)):
            yield from _names_in_pipe(node.pipe)
        if isinstance(node, Branch):
            yield from _names(node.body)
            yield from _names(node.otherwise)


def _names_in_pipe(pipe: Pipe) -> Iterator[str]:
    for operand in _operands(pipe):
        if isinstance(operand, (Field, Variable)):
            yield from operand.names


def _operands(pipe: Pipe) -> Iterator[Operand]:
    for command in pipe.commands:
        for operand in command.operands:
            if isinstance(operand, Pipe):
                yield from _operands(operand)
            else:
                yield operand


class _Cut:
    """Takes away all that follows the first `.Response` outside of conditions, even within one action."""

    def __init__(self) -> None:
        self._is_over = False

    def nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        kept: list[Node] = []
        for node in nodes:
            if self._is_over:
                break
            if isinstance(node, Branch):
                body = self.nodes(node.body)
                kept.append(replace(node, body=body, otherwise=self.nodes(node.otherwise)))
            elif isinstance(node, Action):
                pipe = self._pipe(node.pipe)
                if pipe is not None:
                    kept.append(Action(pipe))
            else:
                kept.append(node)
        return tuple(kept)

    def _pipe(self, pipe: Pipe) -> Pipe | None:
        commands: list[Command] = []
        for command in pipe.commands:
            operands: list[Operand] = []
            for operand in command.operands:
                if self._is_over:
                    break
                if isinstance(operand, Pipe):
                    inner = self._pipe(operand)
                    if inner is not None:
                        operands.append(inner)
                    continue
                self._is_over = isinstance(operand, Field) and "Response" in operand.names
                operands.append(operand)
            if not operands:
                return None
            commands.append(replace(command, operands=tuple(operands)))
        return replace(pipe, commands=tuple(commands))


def _has_thinking_tags(nodes: Sequence[Node], messages: bool = False, tags: list[bool] | None = None) -> bool:
    """Ollama's guess: within a range over `.Messages`, the texts at both ends of the list that has `.Thinking`.

    The last such list decides about each end, unless no text stands there.
    """
    tags = [False, False] if tags is None else tags

    def look_at(pipe: Pipe) -> None:
        if messages and any(isinstance(one, Field) and one.names[0] == "Thinking" for one in _operands(pipe)):
            for end, node in enumerate((nodes[0], nodes[-1])):
                if isinstance(node, Text):
                    tags[end] = bool(node.text.strip())

    for node in nodes:
        if isinstance(node, Action):
            look_at(node.pipe)
        elif isinstance(node, Branch):
            inside = messages
            if node.keyword == "range":
                inside = any(isinstance(one, Field) and one.names[0] == "Messages" for one in _operands(node.pipe))
            look_at(node.pipe)
            _has_thinking_tags(node.body, inside, tags)
            _has_thinking_tags(node.otherwise, inside, tags)
    return all(tags)
