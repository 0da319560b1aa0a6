"""Conversations -> the token ids that ask a model for its next message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.local.prompts import reasoning
from specserve.backends.local.prompts.literal import Literal
from specserve.spec.errors import ContextLengthExceeded, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specserve.backends.local.engine import Tokenizer
    from specserve.backends.local.prompts.chat_template import ChatTemplate


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation, ready for the engine.

    Attributes:
        ids: Token ids.
        thinking: How the answer begins, if it may begin with thoughts.
    """

    ids: list[int]
    thinking: reasoning.Thinking | None


def check_length(least: int, context_length: int, param: str) -> None:
    """Refuse a prompt that is too long whatever its tokens are.

    Args:
        least: Tokens that it has at least.
        context_length: Of the model.
        param: The request parameter that it comes from.

    Raises:
        ContextLengthExceeded: It has more than the model can take.
    """
    if least > context_length:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {context_length} tokens. However, your {param} resulted in at "
            f"least {least} tokens. Please reduce the length of the {param}.",
            param=param,
        )


class ChatPrompts:
    """Renders conversations with a model's template and tokenises them.

    Whatever the client wrote stays text: control tokens come from the template alone.

    Attributes:
        thinks: Whether the model thinks before it answers, as far as its template tells.
        takes_effort: Whether it can be told how much.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._literal = Literal(tokenizer.control_tokens)
        self._format = reasoning.format_of(template.source)
        self.thinks = self._format is not None
        self.takes_effort = reasoning.takes_effort(template.variables, thinks=self.thinks)

    def drop_names(self, messages: Sequence[dict[str, Any]], ignore: Callable[[str], None]) -> None:
        """Take away the names of messages that the template does not show.

        Args:
            messages: As `messages.template_messages` makes them; changed in place.
            ignore: Is told the place of each.
        """
        for at, message in enumerate(messages):
            if "name" in message and not self._template.shows_names(message["role"]):
                del message["name"]
                ignore(f"messages[{at}].name")

    def own_variables(self, given: Mapping[str, Any], ignore: Callable[[str], None]) -> dict[str, Any]:
        """What the template gets to read of the request's `chat_template_kwargs`.

        Args:
            given: The parameter.
            ignore: Is told the place of each value that the template does not read.

        Raises:
            UnsupportedValue: One would take the place of what the server gives the template.
        """
        for name in given:
            if name in self._template.reserved:
                where = f"chat_template_kwargs.{name}"
                raise UnsupportedValue(f"'{name}' is what the server gives the template itself.", param=where)
            if name not in self._template.variables:
                ignore(f"chat_template_kwargs.{name}")
        return {name: value for name, value in given.items() if name in self._template.variables}

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any], context_length: int = 0
    ) -> ChatPrompt:
        """Render and tokenise a conversation.

        Args:
            messages: As `messages.template_messages` makes them.
            variables: What else the template gets to read, from the request too.
            context_length: Tokens from which on a prompt need not be tokenised, since it is refused; 0 for no limit.

        Raises:
            ContextLengthExceeded: The prompt is longer than that by its mere length.
            InvalidRequest: The template refuses these messages.
        """
        (messages, variables), guard = self._literal.guarded((messages, variables))
        text = self._template.render(messages, variables)
        if context_length:
            check_length(
                self._tokenizer.least_tokens(text.replace(guard, "") if guard else text), context_length, "messages"
            )
        # The template writes the special tokens itself.
        if guard:
            ids = self._tokenizer.encode_guarded(text, guard)
        else:
            ids = self._tokenizer.encode(text, add_special_tokens=False)
        return ChatPrompt(ids, reasoning.thinking_after(text, self._format))
