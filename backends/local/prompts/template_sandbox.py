"""Where chat templates run: transformers' environment, within limits. A template comes with a model's file."""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from specserve.backends.local.prompts.literal import GUARDS
from specserve.backends.local.prompts.sizes import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


_MOST_MADE = 64
"""Characters that all operations of a rendering may read and make, for each that the text may have."""

_WIDEST = 10_000
"""The largest width or count that an operation may be told."""

_MOST_BITS = 4096
"""Of a number."""

_WIDE = re.compile(r"\d{5,}|\*|\{[^{}]*\{")
"""In a format: a width of many digits, or one that comes from an argument."""


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
        self._environment.begin(_LEAST_TURNS + _MOST_GROWTH * given, _MOST_MADE * room)
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
    _Counted().visit(tree)
    environment.turn_text = len(source)
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
    made: float = math.inf  # so much while templates are compiled: there constants are worked out
    until: float | None = None
    """When its time is over, as the thread's clock has it; None until it was first asked."""


class _Environment(ImmutableSandboxedEnvironment):
    """transformers' environment, and no way to fill the memory or to go round for ever.

    Whatever an operator, a filter or a method reads and makes is counted, before it is made where it can be much larger
    than what it is made of.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        self._limits = _Limits()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            finalize=self._shown,
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: self._bounded(called) for name, called in self.filters.items()}
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.turn_text = 0
        self.turn = self._turn  # one object, for `call` to know it by
        self.joined = self._joined
        self.cut = self._cut

    def begin(self, turns: int, made: int) -> None:
        """Begin a rendering in this thread.

        Args:
            turns: Turns of loops and calls of macros that it may take.
            made: Characters that all operations together may read and make.
        """
        self._limits.turns = turns
        self._limits.made = made
        self._limits.until = None

    def _turn(self) -> None:
        """Count one turn of a loop or call of a macro."""
        limits = self._limits
        limits.turns -= 1
        limits.made -= self.turn_text
        if limits.turns % 64 == 0:  # asking the clock takes longer than a turn; most renderings never do
            now = time.thread_time()
            limits.until = limits.until or now + _MOST_SECONDS
            if now > limits.until:
                raise SecurityError("more work than any chat needs")
        if limits.turns < 0 or limits.made < 0:
            raise SecurityError("more work than any chat needs")

    def _spend(self, size: float) -> None:
        self._limits.made -= size
        if self._limits.made < 0:
            raise SecurityError("a result larger than any chat needs")

    def _spend_for(self, *values: Any) -> None:
        """Count values that are read or were made; what holds itself several times counts as often."""
        self._spend(
            sum(len(value) if isinstance(value, str) else size_of(value, self._limits.made) for value in values)
        )

    def _shown(self, value: Any) -> Any:
        """Count what goes into the text."""
        self._spend_for(value)
        return value

    def _joined(self, *parts: Any) -> str:
        """What ``~`` makes."""
        self._spend_for(*parts)
        return "".join(map(str, parts))

    def _bounded(self, called: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that counts what it reads and makes."""
        name = called.__name__.removeprefix("do_")

        @functools.wraps(called)
        def bounded(*args: Any, **options: Any) -> Any:
            plain = [arg for arg in args if not isinstance(arg, jinja2.Environment | Context | nodes.EvalContext)]
            self._spend_for(*plain, *options.values())
            if plain:
                self._spend(_growth(name, plain[0], [*plain[1:], *options.values()]))
            made = called(*args, **options)
            self._spend_for(made)
            return made

        return bounded

    def call(self, context: Any, called: Any, /, *args: Any, **options: Any) -> Any:
        if called is self.turn:  # the most frequent call of all, and ours
            return self._turn()
        if called is self.joined or called is self.cut:
            return called(*args)
        owner = getattr(getattr(called, "__wrapped__", called), "__self__", None)
        if isinstance(owner, str | bytes | list | tuple | dict):
            self._spend_for(owner, *args, *options.values())
            self._spend(_growth(called.__name__, owner, [*args, *options.values()]))
            made = super().call(context, called, *args, **options)
            self._spend_for(made)
            return made
        return super().call(context, called, *args, **options)

    def _cut(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """What a slice makes."""
        made = value[slice(start, stop, step)]
        self._spend_for(made)
        return made

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            if operator == "**" or left.bit_length() + right.bit_length() > _MOST_BITS:
                raise SecurityError("a number larger than any chat needs")
        elif operator == "**" or _elements(left, right) > _LEAST_ROOM or _elements(right, left) > _LEAST_ROOM:
            raise SecurityError("a result larger than any chat needs")
        elif operator == "%" and isinstance(left, str):
            self._spend(_growth("format", left, right if isinstance(right, tuple) else [right]))
        else:
            self._spend(sum(len(each) for each in (left, right) if isinstance(each, str | list | tuple)))
        made = super().call_binop(context, operator, left, right)
        if not isinstance(made, int | float):
            self._spend(len(made) if isinstance(made, str | list | tuple) else 0)
        return made


class _Counted(NodeTransformer):
    """Has ``~`` and slices counted, which jinja2 lets nobody intercept."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - jinja2's visitor
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None, lineno=node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - jinja2's visitor
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        ends = [end or nodes.Const(None) for end in (node.arg.start, node.arg.stop, node.arg.step)]
        cut = nodes.EnvironmentAttribute("cut")
        return nodes.Call(cut, [node.node, *ends], [], None, None, lineno=node.lineno)


def _elements(sequence: Any, times: Any) -> int:
    """How long the product of a sequence and a number is; 0 for any other pair."""
    repeats = isinstance(sequence, str | list | tuple) and isinstance(times, int)
    return len(sequence) * times if repeats else 0


def _growth(name: str, value: Any, arguments: Sequence[Any]) -> int:
    """At most how many characters a filter or method makes beyond what it is given.

    Raises:
        SecurityError: It is told a width or a count that no chat needs.
    """
    numbers = [argument for argument in arguments if isinstance(argument, int)]
    if any(abs(number) > _WIDEST for number in numbers):
        raise SecurityError("a result larger than any chat needs")
    texts = [argument for argument in arguments if isinstance(argument, str)]
    size = len(value) if isinstance(value, str | list | tuple | dict) else 0
    if name == "replace" and len(texts) > 1 and isinstance(value, str):
        return value.count(texts[0]) * len(texts[1])
    if name == "join":
        if isinstance(value, str) and arguments and isinstance(arguments[0], str | list | tuple):
            return len(value) * len(arguments[0])  # a method of the separator
        return size * max(map(len, texts), default=0)
    if name in {"format", "format_map"} and isinstance(value, str):
        if _WIDE.search(value):
            raise SecurityError("a result larger than any chat needs")
        longest = max((size_of(argument, _LEAST_ROOM * _MOST_GROWTH) for argument in arguments), default=0)
        return (value.count("%") + value.count("{")) * (longest + _WIDEST)
    lines = 1 + (value.count("\n") + value.count("\t") if isinstance(value, str) else size)
    wrapping = size * max(map(len, texts), default=0) if name in {"wordwrap", "indent", "urlize", "xmlattr"} else 0
    return lines * max(map(abs, numbers), default=0) + wrapping


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
