"""Renders a template in Go's text/template notation. Pure: values in, text out.

Templates come from clients, so rendering has bounds: how many steps it takes, and how long the text gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from .template_functions import FUNCTIONS, BadCall, typescript_type
from .template_nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Function,
    Jump,
    Nil,
    Node,
    Operand,
    Pipe,
    TemplateError,
    Text,
    Tree,
    Variable,
)
from .template_values import Struct, is_true, printed, type_name
from .text import quoted

MAX_STEPS = 300_000  # about half a second
MAX_CHARACTERS = 32 * 1024 * 1024
_CHARACTERS_PER_STEP = 256  # of a text that a function works on or makes
_VARIABLES_PER_STEP = 16  # that are looked at to find one

_ABSENT = object()  # no value comes from the command before
_UNPRINTED = "<no value>"


class Bounds:
    """What is left of the steps and the characters that a prompt may take."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._characters = MAX_CHARACTERS

    def spend(self, steps: int) -> None:
        """Count steps. Raises TemplateError where none are left."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(f"template: the work is too large: more than {MAX_STEPS} steps")

    def write(self, characters: int) -> None:
        """Count characters. Raises TemplateError where none are left."""
        self._characters -= characters
        if self._characters < 0:
            raise TemplateError(f"template: the prompt is too large: more than {MAX_CHARACTERS} characters")


def render(tree: Tree, data: Mapping[str, Any], bounds: Bounds | None = None) -> str:
    """Render a template.

    :param data: what the dot is at the beginning, see `template_values`.
    :param bounds: shared by several renderings that make one prompt.
    :raises TemplateError: it cannot be rendered with these values, or goes beyond the bounds.
    """
    rendering = _Rendering(tree.source, data, bounds or Bounds())
    rendering.walk(tree.nodes, data)
    return "".join(rendering.pieces)


class _Rendering:
    """One run. `_at` is what is worked on, for messages."""

    def __init__(self, source: str, data: Mapping[str, Any], bounds: Bounds) -> None:
        self.pieces: list[str] = []
        self._source = source
        self._variables: list[tuple[str, Any]] = [("$", data)]
        self._at: Operand | Command | None = None
        self._bounds = bounds
        self._spend = bounds.spend

    def walk(self, nodes: Iterable[Node], dot: Any) -> str:
        """Render nodes; the keyword of a jump that ends them early, else ""."""
        for node in nodes:
            self._spend(1)
            if isinstance(node, Text):
                self._write(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self._write(printed(value, _UNPRINTED))
            elif isinstance(node, Jump):
                return node.keyword
            else:
                count = len(self._variables)
                jump = self._range(node, dot) if node.keyword == "range" else self._if_or_with(node, dot)
                del self._variables[count:]
                if jump:
                    return jump
        return ""

    def _if_or_with(self, node: Branch, dot: Any) -> str:
        value = self._pipe(node.pipe, dot)
        if is_true(value):
            return self.walk(node.body, value if node.keyword == "with" else dot)
        return self.walk(node.otherwise, dot)

    def _range(self, node: Branch, dot: Any) -> str:
        value = self._pipe(node.pipe, dot)
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(value, list):
            pairs = enumerate(value)
        elif isinstance(value, dict):
            pairs = ((name, value[name]) for name in sorted(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = ((number, number) for number in range(value))
        elif value is None:
            pairs = ()
        else:
            self._fail(f"range can't iterate over {printed(value)}", node.pipe)
        count = len(self._variables)
        names = node.pipe.variables
        is_empty = True
        for pair in pairs:
            is_empty = False
            self._spend(1)
            for name, one in zip(names, pair[-len(names) :] if names else (), strict=True):
                self._set(name, one)
            jump = self.walk(node.body, pair[1])
            del self._variables[count:]
            if jump == "break":
                break
        return self.walk(node.otherwise, dot) if is_empty else ""

    # Values

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _ABSENT
        for command in pipe.commands:
            value = self._command(command, dot, value)
        for name in pipe.variables:
            if pipe.assigns:
                self._set(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        self._spend(1)
        first, *others = command.operands
        if isinstance(first, Function):
            return self._call(first.name, command, others, dot, final)
        self._at = first
        if isinstance(first, Nil):
            self._fail("nil is not a command", first)
        if others or final is not _ABSENT:
            if isinstance(first, (Field, Chain)) or (isinstance(first, Variable) and len(first.names) > 1):
                self._fail(f"{first.names[-1]} is not a method but has arguments", first)
            self._fail(f"can't give argument to non-function {first}", first)
        return self._operand(first, dot)

    def _operand(self, node: Operand, dot: Any) -> Any:
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Dot):
            return dot
        if isinstance(node, Nil):
            return None
        if isinstance(node, Field):
            return self._fields(dot, node.names, node)
        if isinstance(node, Variable):
            return self._fields(self._get(node), node.names[1:], node)
        if isinstance(node, Pipe):
            return self._pipe(node, dot)
        if isinstance(node, Chain):
            return self._fields(self._operand(node.node, dot), node.names, node)
        return self._call(node.name, node, (), dot, _ABSENT)

    def _fields(self, value: Any, names: Iterable[str], node: Operand) -> Any:
        for name in names:
            self._spend(1)
            if isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, Struct):
                if name in value.fields:
                    value = value.fields[name]
                elif name == "String" and value.has_text:
                    value = printed(value)
                elif name == "ToTypeScriptType" and value.type_name == "api.ToolProperty":
                    value = typescript_type(value)
                else:
                    self._fail(f"can't evaluate field {name} in type {value.type_name}", node)
            elif value is None:
                self._fail(f"nil pointer evaluating interface {{}}.{name}", node)
            else:
                self._fail(f"can't evaluate field {name} in type {type_name(value)}", node)
        return value

    def _call(self, name: str, node: Command | Function, operands: Iterable[Operand], dot: Any, final: Any) -> Any:
        self._spend(1)
        if name in ("and", "or"):
            return self._and_or(name, node, operands, dot, final)
        function, least, most = FUNCTIONS[name]
        values = [self._operand(one, dot) for one in operands]
        if final is not _ABSENT:
            values.append(final)
        if len(values) < least or 0 <= most < len(values):
            wanted = f"at least {least}" if most < 0 else str(least)
            self._fail(f"wrong number of args for {name}: want {wanted} got {len(values)}", node)
        for value in values:
            if isinstance(value, (str, list)):
                self._spend(len(value) // _CHARACTERS_PER_STEP)
        try:
            result = function(*values)
        except BadCall as error:
            self._fail(f"error calling {name}: {error}", node)
        if isinstance(result, str):
            self._spend(len(result) // _CHARACTERS_PER_STEP)
        return result

    def _and_or(self, name: str, node: Command | Function, operands: Iterable[Operand], dot: Any, final: Any) -> Any:
        value: Any = _ABSENT
        for one in operands:
            value = self._operand(one, dot)
            if is_true(value) == (name == "or"):
                return value
        if final is not _ABSENT:
            return final
        if value is _ABSENT:
            self._fail(f"wrong number of args for {name}: want at least 1 got 0", node)
        return value

    # Variables

    def _get(self, node: Variable) -> Any:
        return self._variables[self._place(node.names[0], node)][1]

    def _set(self, name: str, value: Any) -> None:
        self._variables[self._place(name, self._at)] = (name, value)

    def _place(self, name: str, node: Operand | Command | None) -> int:
        """Where the variable is that was declared last under this name."""
        last = len(self._variables) - 1
        for place in range(last, -1, -1):
            if self._variables[place][0] == name:
                self._spend((last - place) // _VARIABLES_PER_STEP)
                return place
        self._fail(f"undefined variable: {name}", node)

    # Bounds and errors

    def _write(self, text: str) -> None:
        self._bounds.write(len(text))
        self.pieces.append(text)

    def _fail(self, message: str, node: Operand | Command | None) -> NoReturn:
        position = 0 if node is None else node.position
        before = self._source[:position]
        line = before.count("\n") + 1
        column = len(before[before.rfind("\n") + 1 :].encode())
        raise TemplateError(f"template: :{line}:{column}: executing {quoted('')} at <{node}>: {message}")
