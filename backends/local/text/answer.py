"""One choice while it grows: tokens in, text out, up to its end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from specserve.backends.local.engine import Alternatives, RankedOutput, TokenOutput
from specserve.backends.local.prompts.reasoning import Thoughts
from specserve.backends.local.text.stop_strings import StopStrings
from specserve.backends.local.tokens.detokenizer import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.local.engine import Tokenizer
    from specserve.backends.local.prompts.reasoning import Thinking


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token with its log-probability.

    Attributes:
        token_id: The token.
        logprob: Natural logarithm of its probability; None for a prompt's first token, which follows nothing.
        alternatives: The likeliest tokens in its place, as many as were asked for.
        start: Where its text begins in the choice's text, in characters.
        end: Where it ends; behind the character if it holds only the first bytes of one.
    """

    token_id: int
    logprob: float | None
    alternatives: Alternatives
    start: int
    end: int


@dataclass(slots=True)
class Delta:
    """What one choice gained in one engine step; may be nothing.

    Attributes:
        index: Which choice of the request.
        text: New text.
        scored: The tokens of that text, when asked for.
        finish_reason: Set once, on the choice's last delta.
        thought: New text of what the model thinks before it answers; comes before `text`.
        completion_tokens: All tokens of the choice so far.
    """

    index: int
    text: str
    scored: list[ScoredToken]
    finish_reason: Literal["stop", "length"] | None
    thought: str = ""
    completion_tokens: int = 0


class Answer:
    """Turns the tokens of one sequence into the text of one choice.

    Args:
        index: Which choice of the request.
        tokenizer: Tells the bytes of tokens.
        stop: Strings that end the choice; the text before the first one is its text. Thoughts may hold them.
        alternatives: How many alternatives each scored token gets; None to score no tokens. Thoughts are not scored.
        thinking: How the sequence begins, if it may begin with thoughts.
        start: Characters of the choice's text that stand before the answer.
        shows_end: Whether the token that ends the sequence is one of the scored tokens.

    Attributes:
        logprob: The sum of its tokens' log-probabilities, if the engine tells them.
    """

    __slots__ = (
        "_alternatives",
        "_decoded",
        "_detokenizer",
        "_held",
        "_min_tokens",
        "_released",
        "_short",
        "_shows_end",
        "_stop",
        "_thoughts",
        "_tokenizer",
        "_trimming",
        "_waiting",
        "completion_tokens",
        "finished",
        "index",
        "logprob",
    )

    def __init__(
        self,
        index: int,
        tokenizer: Tokenizer,
        stop: Sequence[str],
        alternatives: int | None,
        thinking: Thinking | None = None,
        *,
        start: int = 0,
        shows_end: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self.index = index
        self.finished = False
        self.completion_tokens = 0
        self.logprob = 0.0
        self._tokenizer = tokenizer
        self._alternatives = alternatives
        self._short = not stop and alternatives is None and thinking is None and not shows_end
        self._detokenizer = Detokenizer()
        self._stop = StopStrings(stop)
        self._min_tokens = min_tokens
        self._decoded = self._released = start
        self._waiting: deque[ScoredToken] = deque()
        self._shows_end = shows_end
        self._thoughts = None if thinking is None else Thoughts(thinking, tokenizer)
        self._held: list[tuple[TokenOutput, int]] = []
        self._trimming = False

    @property
    def reasoning_tokens(self) -> int:
        """Those of `completion_tokens` that were thoughts."""
        return 0 if self._thoughts is None or self._thoughts.state == "undecided" else self._thoughts.tokens

    def add(self, output: TokenOutput) -> Delta:
        """Take what an engine step brought; not to be called once `finished`."""
        if not self._short:
            return self._add_each(output)
        # The way of nearly all answers: nothing depends on where a token ends and the next begins.
        ids = output.token_ids
        self.completion_tokens += len(ids)
        if output.logprobs:
            self.logprob += sum(output.logprobs)
        tokenizer = self._tokenizer
        text = self._detokenizer.push(tokenizer.token_bytes(ids[0]) if len(ids) == 1 else tokenizer.text_bytes(ids))
        if output.finish_reason:
            text += self._detokenizer.flush()
            self.finished = True
        return Delta(self.index, text, [], output.finish_reason, "", self.completion_tokens)

    def _add_each(self, output: TokenOutput) -> Delta:
        pieces: list[str] = []
        thought = []
        for at in range(len(output.token_ids)):
            self.completion_tokens += 1
            if output.logprobs:
                self.logprob += output.logprobs[at]
            if self._thoughts is None or self._thoughts.state == "over":
                self._take(output, at, pieces)
            else:
                thought.append(self._think(self._thoughts, output, at, pieces))
            if self._stop.found:
                break
        if output.finish_reason and self._thoughts is not None and self._thoughts.state != "over":
            thought.append(self._thoughts.flush())
            self._replay(pieces)
        finish_reason = output.finish_reason
        if finish_reason and not self._stop.found:
            pieces += [self._stop.push(self._detokenizer.flush()), self._stop.flush()]
            self._score_end(output)
        if self._stop.found:
            finish_reason = "stop"
        text = "".join(pieces)
        self._released += len(text)
        self.finished = finish_reason is not None
        return Delta(
            self.index,
            text,
            self._take_scored(text) if self._waiting else [],
            finish_reason,
            "".join(thought),
            self.completion_tokens,
        )

    def _take(self, output: TokenOutput, at: int, pieces: list[str]) -> None:
        """A token of the answer."""
        text = self._detokenizer.push(self._tokenizer.token_bytes(output.token_ids[at]))
        if self._trimming and not self._detokenizer.pending:
            # Thoughts and answer are set apart by empty lines that belong to neither.
            text = text.lstrip("\n")
            if not text:
                return
            self._trimming = False
        if self._alternatives is not None:
            self._score(output, at, len(text))
        self._decoded += len(text)
        pieces.append(self._before_stop(text))

    def _before_stop(self, text: str) -> str:
        """Take the text of the newest token; a stop string that begins before `min_tokens` ends nothing."""
        return text if self.completion_tokens < self._min_tokens else self._stop.push(text)

    def _think(self, thoughts: Thoughts, output: TokenOutput, at: int, pieces: list[str]) -> str:
        """A token that is a thought, or may be one."""
        self._held.append((output, at))
        token_id = output.token_ids[at]
        thought = thoughts.push(token_id, self._tokenizer.token_bytes(token_id))
        if thoughts.state == "over" and not thoughts.tokens:
            self._replay(pieces)
        elif thoughts.state != "undecided":
            self._held.clear()
        if thoughts.state == "over" and thoughts.tokens:
            rest = thoughts.rest.lstrip("\n")
            self._trimming = not rest
            self._decoded += len(rest)
            pieces.append(self._before_stop(rest))
        return thought

    def _replay(self, pieces: list[str]) -> None:
        """What was held back for a thought is the answer's beginning."""
        held, self._held = self._held, []
        for output, at in held:
            if not self._stop.found:
                self._take(output, at, pieces)

    def _score(self, output: TokenOutput, at: int, characters: int) -> None:
        others = output.alternatives[at][: self._alternatives] if isinstance(output, RankedOutput) else []
        end = self._decoded + characters + self._detokenizer.pending
        self._waiting.append(ScoredToken(output.token_ids[at], output.logprobs[at], others, self._decoded, end))

    def _score_end(self, output: TokenOutput) -> None:
        if self._shows_end and isinstance(output, RankedOutput) and output.ended_by is not None and output.end:
            logprob, others = output.end
            others = others[: self._alternatives]
            self._waiting.append(ScoredToken(output.ended_by, logprob, others, self._decoded, self._decoded))

    def _take_scored(self, text: str) -> list[ScoredToken]:
        """Tokens go out with the text they belong to, so that those of all chunks spell the text of all chunks."""
        if self._stop.found:
            taken = [token for token in self._waiting if token.start < self._released]
            self._waiting.clear()
        elif self.finished:
            taken = list(self._waiting)
            self._waiting.clear()
        else:
            taken = []
            while text and self._waiting and self._waiting[0].end <= self._released:
                taken.append(self._waiting.popleft())
        return taken
