"""How models write calls of tools, one file a format. Which one a model writes, its chat template tells."""

from __future__ import annotations

from specserve.backends.local.tools.formats import deepseek, generic, hermes, llama3_json, llama3_pythonic, mistral
from specserve.backends.local.tools.formats.base import ToolFormat

GENERIC = generic.FORMAT
_KNOWN = (
    deepseek.WITH_FENCE,
    deepseek.PLAIN,
    mistral.WITH_NAMES,
    mistral.LISTED,
    hermes.FORMAT,
    llama3_pythonic.FORMAT,
    llama3_json.FORMAT,
)


def format_of(template: str) -> ToolFormat | None:
    """The format that a model with this chat template writes; None if it is not known here."""
    return next((known for known in _KNOWN if known.speaks(template)), None)
