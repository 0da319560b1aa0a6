"""Renders a model's Jinja chat template the way the template's author tested it: as transformers does."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from specserve.backends.errors import BackendLoadError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import nodes
    from jinja2.parser import Parser


class ChatTemplate:
    """The chat template of one model, compiled and tried out.

    Args:
        source: The Jinja source.
        special_tokens: Names that the template may use, such as ``bos_token``.

    Raises:
        BackendLoadError: The template cannot be compiled, or cannot render one plain user message.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._source = source
        self._special_tokens = dict(special_tokens)
        try:
            self._template = _Environment().from_string(source)
        except jinja2.TemplateError as error:
            raise BackendLoadError(f"The model's chat template cannot be compiled: {error}") from error
        self._content_in_parts = False
        if not self._shows("user"):
            # Templates of models that also see images go through the parts of the content and render no string.
            self._content_in_parts = True
            if not self._shows("user"):
                raise BackendLoadError("The model's chat template cannot render a user message.")
        self._knows_system = self._shows("system", "user")

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text that asks the model for the next assistant message.

        Args:
            messages: As `messages.template_messages` makes them: roles that templates know, content as a string. Where
                the template has no place for system messages, each joins the user message after it.

        Raises:
            InvalidRequest: The template refuses these messages, for instance because roles do not alternate.
        """
        return self._render(messages if self._knows_system else _without_system(messages))

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        if self._content_in_parts:
            messages = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        limit = _LEAST_ROOM + _MOST_GROWTH * sum(len(str(message["content"])) for message in messages)
        pieces: list[str] = []
        size = 0
        names = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
        try:
            for piece in self._template.generate(**self._special_tokens, **names):
                size += len(piece)
                if size > limit:
                    raise SecurityError("more text than any chat needs")
                pieces.append(piece)
        except _Refusal as refusal:
            raise InvalidRequest(self._reason(str(refusal)), param="messages") from refusal
        except (jinja2.TemplateError, *_TEMPLATE_BUGS) as error:
            # Whatever a template trips over, it trips over these messages: others get their answers.
            raise InvalidRequest("The model's chat template cannot render these messages.", param="messages") from error
        return "".join(pieces)

    def _reason(self, message: str) -> str:
        # A message that is not written out in the template may hold what the client sent.
        if message in self._source:
            return f"The model's chat template refuses these messages: {message[:200]}"
        return "The model's chat template refuses these messages."

    def _shows(self, *roles: str) -> bool:
        """Whether messages of these roles, in this order, all reach the text."""
        try:
            text = self._render([{"role": role, "content": f"probe-of-{role}"} for role in roles])
        except InvalidRequest:
            return False
        return all(f"probe-of-{role}" in text for role in roles)


_LEAST_ROOM = 2**20
"""Characters that a template may make of nothing: tool descriptions and house rules are long, but not longer."""

_MOST_GROWTH = 16
"""Characters that a template may make of one, role markers around short messages included."""

_TEMPLATE_BUGS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Refusal(jinja2.TemplateError):
    """The template called `raise_exception`."""


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here its body just renders."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """transformers' environment, and no way to fill the memory by multiplying: a template comes with a model's file."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

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
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _Refusal(str(message))


def _strftime_now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


def _without_system(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Put the text of each system message before the next user message, or after the last message if none follows."""
    merged: list[Mapping[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif message["role"] == "user" and waiting:
            merged.append({**message, "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            merged.append(message)
    if waiting:
        last = merged.pop() if merged and merged[-1]["role"] == "user" else {"role": "user", "content": ""}
        content = "\n\n".join(text for text in [last["content"], *waiting] if text)
        merged.append({**last, "content": content})
    return merged
