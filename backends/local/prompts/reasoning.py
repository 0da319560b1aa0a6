"""What a model thinks before it answers: how that is marked, and how it is told apart as it comes.

Formats are data. A model thinks in one if its chat template speaks of that format's closing mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from specserve.backends.local.marks import THINK_FORMATS, ThinkFormat
from specserve.backends.local.tokens.detokenizer import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Collection

    from specserve.backends.local.engine import Tokenizer


_EFFORT = "reasoning_effort"
_SWITCHES = ("enable_thinking", "thinking")
_NO_THOUGHT = frozenset({"none", "minimal"})


def format_of(template: str) -> ThinkFormat | None:
    """The format in which a model with this chat template thinks, if it does."""
    return next((known for known in THINK_FORMATS if known.closes in template), None)


def takes_effort(variables: Collection[str], *, thinks: bool) -> bool:
    """Whether `reasoning_effort` makes a difference to a template that reads these variables."""
    return _EFFORT in variables or (thinks and any(switch in variables for switch in _SWITCHES))


def effort_variables(effort: str) -> dict[str, str | bool]:
    """What a template gets to read: the word itself, and for those that only know yes or no, whether to think."""
    return {_EFFORT: effort, **dict.fromkeys(_SWITCHES, effort not in _NO_THOUGHT)}


@dataclass(frozen=True)
class Thinking:
    """How an answer begins.

    Attributes:
        format: How its thoughts are marked.
        opened: Whether the prompt ends in the opening mark, so that the answer begins with thoughts at once. Else it
            may open them itself, before anything else.
    """

    format: ThinkFormat
    opened: bool


def thinking_after(prompt: str, known: ThinkFormat | None) -> Thinking | None:
    """How the answer to a rendered prompt begins; None if it cannot begin with thoughts."""
    if known is None or prompt.rstrip().endswith(known.closes):
        return None
    return Thinking(known, prompt.rstrip().endswith(known.opens))


class Thoughts:
    """Tells the thoughts of one answer from what follows them, token by token.

    Attributes:
        state: ``undecided`` until the first text shows whether there are thoughts, ``inside`` them, or ``over``.
        rest: Once over: text behind the closing mark that came in the same token.
        tokens: How many tokens the thoughts took, marks included.
    """

    __slots__ = ("_begun", "_detokenizer", "_format", "_held", "_marks", "rest", "state", "tokens")

    state: Literal["undecided", "inside", "over"]

    def __init__(self, thinking: Thinking, tokenizer: Tokenizer) -> None:
        self._format = thinking.format
        self._detokenizer = Detokenizer()
        known = tokenizer.control_tokens
        marks = (thinking.format.opens, thinking.format.closes)
        # Marks that are control tokens have no bytes; they stand here with their text.
        self._marks = {known[mark]: mark for mark in marks if mark in known}
        self._held = ""
        self._begun = False
        self.state = "inside" if thinking.opened else "undecided"
        self.rest = ""
        self.tokens = 0

    def push(self, token_id: int, data: bytes) -> str:
        """Take the next token, unless over; return the thoughts that may go out now, perhaps none."""
        self.tokens += 1
        self._held += self._marks.get(token_id) or self._detokenizer.push(data)
        if not self._begun:
            self._begin()
        if self.state != "inside" or not self._begun:
            return ""
        thought, mark, rest = self._held.partition(self._format.closes)
        if mark:
            self.state, self.rest, self._held = "over", rest, ""
            return thought.rstrip()
        # Held back: what may be the beginning of the mark, and the white space that goes with it.
        safe = len(thought) - _overlap(thought, self._format.closes)
        safe = len(thought[:safe].rstrip())
        self._held = thought[safe:]
        return thought[:safe]

    def flush(self) -> str:
        """End the answer: what was held back is thought, if anything was."""
        rest, self._held = self._held + self._detokenizer.flush(), ""
        return rest.rstrip() if self.state == "inside" else ""

    def _begin(self) -> None:
        """Look for the opening mark, which a model may say although the prompt said it before."""
        text = self._held.lstrip()
        if not text or (self._format.opens.startswith(text) and text != self._format.opens):
            return
        if text.startswith(self._format.opens):
            self.state, text = "inside", text.removeprefix(self._format.opens).lstrip()
        elif self.state == "undecided":
            self.state, self.tokens = "over", 0
            return
        self._held = text
        self._begun = bool(text)


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that is a beginning of `mark`."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:size])), 0)
