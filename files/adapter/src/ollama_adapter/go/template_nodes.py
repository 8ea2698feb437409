"""The parts of a template in Go's text/template notation, and the error that reading or rendering one ends in.

`str()` of a node is what Go prints of it in messages.
"""

from __future__ import annotations

from dataclasses import dataclass


class TemplateError(ValueError):
    """A template that cannot be read, or not be rendered. The message is that of Go 1.26, `template: :1: ...`."""


@dataclass(frozen=True, slots=True)
class Text:
    """What stands outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """The current value."""

    position: int

    def __str__(self) -> str:
        return "."


@dataclass(frozen=True, slots=True)
class Nil:
    """The constant nil."""

    position: int

    def __str__(self) -> str:
        return "nil"


@dataclass(frozen=True, slots=True)
class Constant:
    """A string, a number, or true or false, and how it is written."""

    position: int
    value: str | int | float | bool
    written: str

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True, slots=True)
class Field:
    """`.Name`, or several of them in a row."""

    position: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, with fields of it. The first of the names has the dollar."""

    position: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function."""

    position: int
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of the value of a pipeline in parentheses."""

    position: int
    node: Operand
    names: tuple[str, ...]

    def __str__(self) -> str:
        inner = f"({self.node})" if isinstance(self.node, Pipe) else str(self.node)
        return inner + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Command:
    """An operand alone, or a function with its arguments."""

    position: int
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(f"({one})" if isinstance(one, Pipe) else str(one) for one in self.operands)


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each of which gets the value of the one before as its last argument.

    :ivar variables: those that it sets, at most two.
    :ivar assigns: they were there before.
    """

    position: int
    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False

    def __str__(self) -> str:
        sign = " = " if self.assigns else " := "
        return (", ".join(self.variables) + sign if self.variables else "") + " | ".join(map(str, self.commands))


Operand = Dot | Nil | Constant | Field | Variable | Function | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Action:
    """`{{ pipeline }}`"""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """`{{ if }}`, `{{ with }}` or `{{ range }}`, and what is rendered otherwise."""

    keyword: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Jump:
    """`{{ break }}` or `{{ continue }}`"""

    keyword: str


Node = Text | Action | Branch | Jump


@dataclass(frozen=True, slots=True)
class Tree:
    """A template that has been read.

    :ivar source: its text, to tell where an error is.
    """

    nodes: tuple[Node, ...]
    source: str
