"""Reads a template in Go's text/template notation, with the messages of Go 1.26.

Not read, and said so: `define`, `block` and `template`, which no template of Ollama's library has, and the functions of
web pages. Templates come from clients, so they have bounds: how long they are, and how deep.
"""

from __future__ import annotations

from .template_functions import FUNCTIONS
from .template_lexer import Token, tokens
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
from .text import number, quoted, unquoted

MAX_CHARACTERS = 64 * 1024
MAX_DEPTH = 60  # of actions with an end and of parentheses, together

_FUNCTIONS = frozenset(("and", "or", *FUNCTIONS))
_GO_ONLY_FUNCTIONS = frozenset(("call", "html", "js", "urlquery"))
_OPERANDS = frozenset(
    (
        "bool",
        "character",
        "field",
        "name",
        "number",
        "raw string",
        "string",
        "variable",
        "(",
        "keyword .",
        "keyword nil",
    )
)
_NOT_EXECUTABLE = (Constant, Dot, Nil)


def parse(source: str) -> Tree:
    """Read a template.

    :raises TemplateError: it cannot be read.
    """
    if len(source) > MAX_CHARACTERS:
        raise TemplateError(f"template: the template is longer than {MAX_CHARACTERS} characters")
    return Tree(tuple(_Parser(source).template()), source)


def _kind(token: Token) -> str:
    return f"keyword {token.text}" if token.kind == "keyword" else token.kind


class _Parser:
    """Reads words as they are needed. `_next` is the place of the next one among those that have been read."""

    def __init__(self, source: str) -> None:
        self._source = tokens(source)
        self._read: list[Token] = []
        self._next = 0
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0
        self._action_line = 0

    def template(self) -> list[Node]:
        nodes: list[Node] = []
        while self._peek().kind != "end":
            node = self._text_or_action()
            if isinstance(node, str):
                raise self._error(f"unexpected {node}")
            nodes.append(node)
        return nodes

    def _list(self) -> tuple[tuple[Node, ...], str]:
        """What stands before `{{end}}` or `{{else}}`, and which of the two it is."""
        nodes: list[Node] = []
        while self._peek_word().kind != "end":
            node = self._text_or_action()
            if isinstance(node, str):
                return tuple(nodes), node
            nodes.append(node)
        raise self._error("unexpected EOF")

    def _text_or_action(self) -> Node | str:
        token = self._word()
        if token.kind == "text":
            return Text(token.text)
        if token.kind != "open":
            raise self._unexpected(token, "input")
        self._action_line = token.line
        node = self._action()
        self._action_line = 0
        return node

    def _action(self) -> Node | str:
        token = self._word()
        keyword = token.text if token.kind == "keyword" else ""
        if keyword in ("if", "range", "with"):
            return self._branch(keyword)
        if keyword in ("break", "continue"):
            closing = self._word()
            if closing.kind != "close":
                raise self._unexpected(closing, f"{{{{{keyword}}}}}")
            if not self._ranges:
                raise self._error(f"{{{{{keyword}}}}} outside {{{{range}}}}")
            return Jump(keyword)
        if keyword == "end":
            self._expect_close("end")
            return "{{end}}"
        if keyword == "else":
            if self._peek_word().text not in ("if", "with") or self._peek_word().kind != "keyword":
                self._expect_close("else")
            return "{{else}}"
        if keyword in ("block", "define", "template"):
            raise self._error(f"{{{{{keyword}}}}} is not supported by this server")
        self._next -= 1
        return Action(self._pipeline("command", "close"))

    def _branch(self, keyword: str) -> Branch:
        self._go_down()
        count = len(self._variables)
        pipe = self._pipeline(keyword, "close")
        self._ranges += keyword == "range"
        body, ending = self._list()
        self._ranges -= keyword == "range"
        otherwise: tuple[Node, ...] = ()
        if ending == "{{else}}":
            following = self._peek()
            if keyword in ("if", "with") and following.kind == "keyword" and following.text == keyword:
                self._next += 1  # one {{end}} ends both
                otherwise = (self._branch(keyword),)
            else:
                otherwise, ending = self._list()
                if ending != "{{end}}":
                    raise self._error(f"expected end; found {ending}")
        del self._variables[count:]
        self._depth -= 1
        return Branch(keyword, pipe, body, otherwise)

    def _pipeline(self, context: str, closing: str) -> Pipe:
        position = self._peek_word().position
        names, assigns = self._declarations(context)
        commands: list[Command] = []
        while True:
            token = self._word()
            if token.kind == closing:
                break
            if _kind(token) not in _OPERANDS:
                raise self._unexpected(token, context)
            self._next -= 1
            commands.append(self._command())
        if not commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], _NOT_EXECUTABLE):
                raise self._error(f"non executable command in pipeline stage {stage}")
        return Pipe(position, tuple(commands), tuple(names), assigns)

    def _declarations(self, context: str) -> tuple[list[str], bool]:
        names: list[str] = []
        while True:
            before = self._next
            variable = self._word()
            if variable.kind != "variable":
                self._next = before
                return names, False
            sign = self._word()
            if sign.kind in ("assign", "declare"):
                names.append(variable.text)
                self._variables.append(variable.text)
                return names, sign.kind == "assign"
            if sign.kind != "other" or sign.text != ",":
                self._next = before
                return names, False
            names.append(variable.text)
            self._variables.append(variable.text)
            if context != "range" or len(names) >= 2:
                raise self._error(f"too many declarations in {context}")
            if self._peek_word().kind not in ("variable", "close", ")"):
                raise self._error("range can only initialize variables")

    def _command(self) -> Command:
        position = self._peek_word().position
        operands: list[Operand] = []
        while True:
            self._peek_word()
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            token = self._take()
            if token.kind == "space":
                continue
            if token.kind in ("close", ")"):
                self._next -= 1
            elif token.kind != "pipe":
                raise self._unexpected(token, "operand")
            break
        if not operands:
            raise self._error("empty command")
        return Command(position, tuple(operands))

    def _operand(self) -> Operand | None:
        node = self._term()
        following = self._peek()
        if node is None or following.kind != "field":
            return node
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._take().text[1:])
        if isinstance(node, Field):
            return Field(following.position, (*node.names, *names))
        if isinstance(node, Variable):
            return Variable(following.position, (*node.names, *names))
        if isinstance(node, _NOT_EXECUTABLE):
            raise self._error(f"unexpected . after term {quoted(str(node))}")
        return Chain(following.position, node, tuple(names))

    def _term(self) -> Operand | None:
        before = self._next
        token = self._word()
        kind, text, position = _kind(token), token.text, token.position
        if kind == "name":
            self._check_function(text)
            return Function(position, text)
        if kind == "keyword .":
            return Dot(position)
        if kind == "keyword nil":
            return Nil(position)
        if kind == "variable":
            if text not in self._variables:
                raise self._error(f"undefined variable {quoted(text)}")
            return Variable(position, (text,))
        if kind == "field":
            return Field(position, (text[1:],))
        if kind == "bool":
            return Constant(position, text == "true", text)
        if kind == "(":
            self._go_down()
            pipe = self._pipeline("parenthesized pipeline", ")")
            self._depth -= 1
            return pipe
        if kind in ("number", "character", "string", "raw string"):
            return Constant(position, self._constant(kind, text), text)
        self._next = before
        return None

    def _constant(self, kind: str, written: str) -> str | int | float:
        try:
            if kind == "number":
                return number(written)
            text = unquoted(written)
        except ValueError as error:
            malformed = f"malformed character constant: {written}"
            raise self._error(malformed if kind == "character" else str(error)) from None
        if kind != "character":
            return text
        if len(text) != 1:
            raise self._error(f"malformed character constant: {written}")
        return ord(text)

    def _check_function(self, name: str) -> None:
        if name in _GO_ONLY_FUNCTIONS:
            raise self._error(f"function {quoted(name)} is not supported by this server")
        if name not in _FUNCTIONS:
            raise self._error(f"function {quoted(name)} not defined")

    def _go_down(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"actions are nested more than {MAX_DEPTH} deep")

    def _expect_close(self, context: str) -> None:
        token = self._word()
        if token.kind != "close":
            raise self._unexpected(token, context)

    # Words

    def _take(self) -> Token:
        token = self._peek()
        self._next += 1
        return token

    def _peek(self) -> Token:
        if self._next == len(self._read):
            # Nothing follows the last one: whoever takes it raises an error.
            self._read.append(next(self._source, self._read[-1] if self._read else Token("end", "", 0, 1)))
        return self._read[self._next]

    def _word(self) -> Token:
        """The next word that is no blank."""
        token = self._take()
        return self._take() if token.kind == "space" else token

    def _peek_word(self) -> Token:
        if self._peek().kind == "space":
            self._next += 1
        return self._peek()

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.kind != "error":
            return self._error(f"unexpected {token} in {context}")
        where = ""
        if self._action_line not in (0, token.line):
            started = f" started at :{self._action_line}"
            where = started if token.text.endswith(" action") else f" in action{started}"
        return self._error(f"{token}{where}")

    def _error(self, message: str) -> TemplateError:
        """An error in the line of the word that was read last."""
        return TemplateError(f"template: :{self._read[-1].line}: {message}")
