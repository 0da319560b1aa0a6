"""The older way to ask for text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specserve.conformance.checks import check, check_together
from specserve.conformance.checks.chat import choices, contains_stop, usage_of_all, usage_sum
from specserve.conformance.checks.stream import done_sentinel
from specserve.conformance.evidence import MISSING, Answer, Finding, dig, items

check("completions.stream.done-sentinel")(done_sentinel)


@check("completions.finished")
def finished(answer: Answer) -> Iterator[Finding]:
    """It is complete, so it ended for a reason."""
    for choice in choices(answer):
        if dig(choice, "finish_reason") is None:
            yield Finding("a finish_reason", None, place="/choices/*/finish_reason")
            return


@check("completions.usage-sum")
def usage(answer: Answer) -> Iterator[Finding]:
    """The counts add up."""
    if not answer.is_stream:
        yield from usage_sum(answer.get("usage"))


@check("completions.limit")
def limit(answer: Answer) -> Iterator[Finding]:
    """One token was allowed."""
    count = answer.get("usage", "completion_tokens")
    if (isinstance(count, int) and count > 1) or len(answer.text) > 40:
        yield Finding("a text of one token", answer.text, silent=True)
    elif answer.get("choices", 0, "finish_reason") == "stop" and count == 1:
        yield Finding('finish_reason "length"', "stop")


@check("completions.prompts")
def prompts(answer: Answer) -> Iterator[Finding]:
    """One for each, in any order."""
    indexes = [dig(choice, "index") for choice in choices(answer)]
    if all(isinstance(index, int) for index in indexes) and sorted(indexes) != [0, 1]:
        yield Finding("choices with the indexes 0 and 1", indexes, silent=len(indexes) < 2)


@check("completions.usage-prompts")
def usage_prompts(answer: Answer) -> Iterator[Finding]:
    """Both were cut by the limit, so each has as many tokens as the limit."""
    yield from usage_of_all(answer, dig(answer.sent.json, "max_tokens"))


@check("completions.echo")
def echo(answer: Answer) -> Iterator[Finding]:
    """The prompt comes first."""
    prompt = dig(answer.sent.json, "prompt")
    if not answer.text.startswith(prompt):
        yield Finding(f"a text that begins with {prompt!r}", answer.text, silent=True)


@check("completions.stop")
def stop(answer: Answer) -> Iterator[Finding]:
    """The sequence comes from an earlier answer to the same prompt."""
    yield from contains_stop(answer, answer.text)


@check("completions.logprobs")
def logprobs(answer: Answer) -> Iterator[Finding]:
    """Parallel lists."""
    found = answer.get("choices", 0, "logprobs")
    if not isinstance(found, dict):
        yield Finding("logprobs", found, silent=True)
        return
    lists = {name: dig(found, name) for name in ("tokens", "token_logprobs", "text_offset")}
    lengths = {name: len(value) for name, value in lists.items() if isinstance(value, list)}
    if len(lengths) != len(lists) or len(set(lengths.values())) != 1 or not lengths["tokens"]:
        yield Finding("tokens, token_logprobs and text_offset of one length", lengths or sorted(found))
    elif any(isinstance(value, int | float) and value > 1e-4 for value in lists["token_logprobs"]):
        yield Finding("log probabilities of at most 0", lists["token_logprobs"])


@check("completions.stream.id-constant")
def stream_id(answer: Answer) -> Iterator[Finding]:
    """One answer, one id."""
    ids = [dig(payload, "id") for payload in answer.payloads if dig(payload, "id") is not MISSING]
    if ids and any(name != ids[0] for name in ids):
        yield Finding(f"the id {ids[0]!r} in every part", next(name for name in ids if name != ids[0]))


@check("completions.stream.finish-present")
def stream_finish(answer: Answer) -> Iterator[Finding]:
    """It ended for a reason."""
    reasons: list[Any] = [
        dig(choice, "finish_reason") for payload in answer.payloads for choice in items(dig(payload, "choices"))
    ]
    if not any(isinstance(reason, str) for reason in reasons):
        yield Finding("a finish_reason in the last part", "none")


@check_together("completions.stream.same-text")
def same_text(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Same prompt, same seed, temperature 0."""
    plain, streamed = answers["completions.plain"].text, answers["completions.stream"].streamed_text
    if plain != streamed:
        yield Finding(f"the text {plain!r}", streamed)
