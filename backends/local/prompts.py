"""Conversations -> the token ids that ask a model for its next message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.backends.errors import UnsupportedParameter
from specserve.backends.local.literal import Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specserve.backends.local.chat_template import ChatTemplate
    from specserve.backends.local.engine import Tokenizer


class ChatPrompts:
    """Renders conversations with a model's template and tokenises them.

    Whatever the client wrote stays text: control tokens come from the template alone.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._literal = Literal(tokenizer.control_tokens)

    def ids(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[int]:
        """Token ids of a conversation.

        Args:
            messages: As `messages.template_messages` makes them.
            variables: What else the template gets to read, from the request too.

        Raises:
            UnsupportedParameter: A message has a name, and the template shows none.
            InvalidRequest: The template refuses these messages.
        """
        for at, message in enumerate(messages):
            if "name" in message and not self._template.shows_names(message["role"]):
                raise UnsupportedParameter(
                    "This model's chat template has no place for names.", param=f"messages[{at}].name"
                )
        (messages, variables), guard = self._literal.guarded((messages, variables))
        text = self._template.render(messages, variables)
        # The template writes the special tokens itself.
        if guard:
            return self._tokenizer.encode_guarded(text, guard)
        return self._tokenizer.encode(text, add_special_tokens=False)
