"""Renders a model's Jinja chat template the way the template's author tested it: as transformers does."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jinja2

from specserve.backends.local.prompts.sizes import size_of
from specserve.backends.local.prompts.template_sandbox import Refusal, compiled
from specserve.spec.errors import BackendLoadError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ChatTemplate:
    """The chat template of one model, compiled and tried out.

    Args:
        source: The Jinja source.
        special_tokens: Names that the template may use, such as ``bos_token``.

    Attributes:
        source: The Jinja source.
        variables: Names that it reads and does not set itself, such as ``messages``.
        reserved: Names whose values are the server's to give.

    Raises:
        BackendLoadError: The template cannot be compiled, or cannot render one plain user message.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        self.reserved = frozenset((*_OURS, *special_tokens))
        try:
            self._template, self.variables = compiled(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise BackendLoadError(f"The model's chat template cannot be compiled: {error}") from error
        self._names: dict[str, bool] = {}
        self._content_in_parts = False
        if not self._shows("user"):
            # Templates of models that also see images go through the parts of the content and render no string.
            self._content_in_parts = True
            if not self._shows("user"):
                raise BackendLoadError("The model's chat template cannot render a user message.")
        self._knows_system = self._shows("system", "user")

    def render(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any] = MappingProxyType({})) -> str:
        """The text that asks the model for the next assistant message.

        Args:
            messages: As `messages.template_messages` makes them: roles that templates know, content as a string. Where
                the template has no place for system messages, each joins the user message after it.
            variables: What else the template gets to read.

        Raises:
            InvalidRequest: The template refuses these messages, for instance because roles do not alternate.
        """
        return self._render(messages if self._knows_system else _without_system(messages), variables)

    def shows_names(self, role: str) -> bool:
        """Whether the `name` of a message of this role reaches the text."""
        if role not in self._names:
            self._names[role] = self._shows_name(role)
        return self._names[role]

    def _shows_name(self, role: str) -> bool:
        around = {"role": "user", "content": "probe"}
        named = {"role": role, "content": "probe", "name": "probe-of-name"}
        messages = {"user": [named], "system": [named, around]}.get(role, [around, named, around])
        return "probe-of-name" in self._tried(messages)

    def _render(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        if self._content_in_parts:
            messages = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        given = size_of((messages, variables))
        names = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True, **variables}
        try:
            return self._template.render({**self._special_tokens, **names}, given)
        except Refusal as refusal:
            raise InvalidRequest(self._reason(str(refusal)), param="messages") from refusal
        except (jinja2.TemplateError, *_TEMPLATE_BUGS) as error:
            # Whatever a template trips over, it trips over these messages: others get their answers.
            raise InvalidRequest("The model's chat template cannot render these messages.", param="messages") from error

    def _reason(self, message: str) -> str:
        # A message that is not written out in the template may hold what the client sent.
        if message in self.source:
            return f"The model's chat template refuses these messages: {message[:200]}"
        return "The model's chat template refuses these messages."

    def _shows(self, *roles: str) -> bool:
        """Whether messages of these roles, in this order, all reach the text."""
        text = self._tried([{"role": role, "content": f"probe-of-{role}"} for role in roles])
        return all(f"probe-of-{role}" in text for role in roles)

    def _tried(self, messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            return self._render(messages, {})
        except InvalidRequest:
            return ""


_OURS = ("messages", "tools", "add_generation_prompt")

_TEMPLATE_BUGS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


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
