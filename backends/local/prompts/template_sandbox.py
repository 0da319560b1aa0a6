"""Where chat templates run: transformers' environment, within limits. A template comes with a model's file."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from specserve.backends.local.prompts.literal import GUARDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2.parser import Parser

_LEAST_ROOM = 2**20
"""Characters that a template may make of nothing: tool descriptions and house rules are long, but not longer."""

_MOST_GROWTH = 16
"""Characters that a template may make of one, role markers around short messages included."""

_LEAST_TURNS = 2**16
"""Turns of loops and calls of macros that any conversation may take."""

_MOST_SECONDS = 10.0
"""Processor time of one rendering, for what no count of turns can bound."""


class Refusal(jinja2.TemplateError):
    """The template called `raise_exception`."""


class SandboxedTemplate:
    """A compiled template that renders within limits of size, turns and time."""

    def __init__(self, environment: _Environment, template: jinja2.Template) -> None:
        self._environment = environment
        self._template = template
        self._globals = dict(template.globals)

    def render(self, variables: Mapping[str, Any], given: int) -> str:
        """The text.

        Args:
            variables: What the template reads.
            given: Characters that the client sent, which the limits grow with.

        Raises:
            Refusal: The template refuses what it was given.
            jinja2.TemplateError: Anything else that jinja2 raises, `SecurityError` for a limit; Python's own errors
                come through too.
        """
        room = _LEAST_ROOM + _MOST_GROWTH * given
        pieces: list[str] = []
        self._environment.begin(_LEAST_TURNS + _MOST_GROWTH * given)
        # As `Template.generate` does it, but for the globals, which are put together anew for each rendering there.
        context = self._template.new_context({**self._globals, **variables}, shared=True)
        for piece in self._template.root_render_func(context):
            room -= len(piece)
            if room < 0:
                raise SecurityError("more text than any chat needs")
            pieces.append(piece)
        return "".join(pieces)


def compiled(source: str) -> tuple[SandboxedTemplate, frozenset[str]]:
    """Compile a template; also the names that it reads and does not set itself.

    Raises:
        jinja2.TemplateError: It is not a template.
    """
    environment = _Environment()
    tree = environment.parse(source)
    names = frozenset(meta.find_undeclared_variables(tree))
    bodies = [node.body for node in tree.find_all(nodes.For)]
    bodies += [node.body for node in tree.find_all(nodes.Macro)]
    bodies += [node.body for node in tree.find_all(nodes.CallBlock)]
    for body in bodies:
        turn = nodes.Call(nodes.EnvironmentAttribute("turn"), [], [], None, None, lineno=tree.lineno)
        body.insert(0, nodes.ExprStmt(turn, lineno=tree.lineno))
    return SandboxedTemplate(environment, environment.from_string(tree)), names


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here its body just renders."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Limits(threading.local):
    """What the rendering in this thread may still do."""

    turns = 0
    until: float | None = None
    """When its time is over, as the thread's clock has it; None until it was first asked."""


class _Environment(ImmutableSandboxedEnvironment):
    """transformers' environment, and no way to fill the memory by multiplying or to go round for ever."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self._limits = _Limits()
        self.turn = self._turn  # one object, for `call` to know it by

    def begin(self, turns: int) -> None:
        """Begin a rendering in this thread."""
        self._limits.turns = turns
        self._limits.until = None

    def _turn(self) -> None:
        """Count one turn of a loop or call of a macro."""
        limits = self._limits
        limits.turns -= 1
        if limits.turns % 64 == 0:  # asking the clock takes longer than a turn; most renderings never do
            now = time.thread_time()
            limits.until = limits.until or now + _MOST_SECONDS
            if now > limits.until:
                raise SecurityError("more work than any chat needs")
        if limits.turns < 0:
            raise SecurityError("more work than any chat needs")

    def call(self, context: Any, called: Any, /, *args: Any, **options: Any) -> Any:
        if called is self.turn:  # the most frequent call of all, and ours
            return self._turn()
        return super().call(context, called, *args, **options)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or _elements(left, right) > _LEAST_ROOM or _elements(right, left) > _LEAST_ROOM:
            raise SecurityError("a result larger than any chat needs")
        return super().call_binop(context, operator, left, right)


def _elements(sequence: Any, times: Any) -> int:
    """How long the product of a sequence and a number is; 0 for any other pair."""
    repeats = isinstance(sequence, str | list | tuple) and isinstance(times, int)
    return len(sequence) * times if repeats else 0


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML, which models were not trained on.
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    return re.sub(r"[^\0-\x7f]", _escaped, text) if ensure_ascii else text


def _escaped(found: re.Match[str]) -> str:
    return found[0] if ord(found[0]) in GUARDS else json.dumps(found[0])[1:-1]


def _raise_exception(message: str) -> None:
    raise Refusal(str(message))


def _strftime_now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)
