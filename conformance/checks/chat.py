"""Chat answers that are not streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specserve.conformance.checks import check, check_together
from specserve.conformance.checks.models import not_in_seconds
from specserve.conformance.evidence import MISSING, Answer, Finding, dig, items


def choices(answer: Answer) -> list[Any]:
    """The choices of a plain answer."""
    return items(answer.get("choices")) if not answer.is_stream else []


def usage_sum(usage: Any) -> Iterator[Finding]:
    """Whether the counts add up, where they are numbers."""
    prompt, completion, total = (dig(usage, f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if all(isinstance(count, int) for count in (prompt, completion, total)) and prompt + completion != total:
        yield Finding(f"total_tokens {prompt + completion}", total)


@check_together("chat.id-unique")
def id_unique(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Also where the client sent the same x-request-id twice."""
    ids = [answer.get("id") for answer in answers.values() if isinstance(answer.get("id"), str)]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        yield Finding("another id for each answer", repeated)


@check_together("chat.developer-counted")
def developer_counted(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """The same question without it has another number of tokens, whatever a template puts in its place."""
    alone, both = (answers[name].get("usage", "prompt_tokens") for name in ("chat.limit", "chat.developer"))
    if isinstance(alone, int) and alone == both:
        yield Finding(f"another number of prompt_tokens than {alone}, as without the message", both, silent=True)


@check("chat.created-seconds")
def created_seconds(answer: Answer) -> Iterator[Finding]:
    """Not milliseconds."""
    if not_in_seconds(answer.get("created")):
        yield Finding("seconds since 1970", answer.get("created"))


@check("chat.model-asked-for")
def model_asked_for(answer: Answer) -> Iterator[Finding]:
    """The name comes back."""
    model = answer.get("model")
    if isinstance(model, str) and model != dig(answer.sent.json, "model"):
        yield Finding(f"model {dig(answer.sent.json, 'model')!r}", model)


@check("chat.one-choice")
def one_choice(answer: Answer) -> Iterator[Finding]:
    """`n` is 1."""
    found = answer.get("choices")
    if isinstance(found, list) and len(found) != 1:
        yield Finding("one choice", f"{len(found)} choices")


@check("chat.choice-index")
def choice_index(answer: Answer) -> Iterator[Finding]:
    """0, 1, 2, in any order."""
    indexes = [dig(choice, "index") for choice in choices(answer)]
    if all(isinstance(index, int) for index in indexes) and sorted(indexes) != list(range(len(indexes))):
        yield Finding(f"the indexes {list(range(len(indexes)))}", indexes)


@check("chat.content-text")
def content_text(answer: Answer) -> Iterator[Finding]:
    """Nothing was to be called, so there is something to read."""
    for choice in choices(answer):
        refused = isinstance(dig(choice, "message", "refusal"), str)
        if dig(choice, "message", "content") is None and not refused:
            yield Finding("a string", None, place="/choices/*/message/content")
            return


@check("chat.tool-calls-absent")
def tool_calls_absent(answer: Answer) -> Iterator[Finding]:
    """Clients ask whether the key is there."""
    for choice in choices(answer):
        calls = dig(choice, "message", "tool_calls")
        if calls is None or calls == []:
            yield Finding("no key tool_calls", calls, place="/choices/*/message/tool_calls")
            return


@check("chat.no-false-tool-finish")
def no_false_tool_finish(answer: Answer) -> Iterator[Finding]:
    """A client would wait for a call."""
    for choice in choices(answer):
        if dig(choice, "finish_reason") == "tool_calls" and not items(dig(choice, "message", "tool_calls")):
            yield Finding('another finish_reason than "tool_calls"', "no tool_calls in the message")
            return


@check("chat.usage")
def usage(answer: Answer) -> Iterator[Finding]:
    """What was spent."""
    if answer.get("usage") in (MISSING, None):
        yield Finding("a usage", answer.get("usage"))


@check("chat.usage-sum")
def sum_of_usage(answer: Answer) -> Iterator[Finding]:
    """The counts add up."""
    yield from usage_sum(answer.get("usage"))


@check("chat.usage-counted")
def usage_counted(answer: Answer) -> Iterator[Finding]:
    """Text is made of tokens."""
    for name in ("prompt_tokens", "completion_tokens"):
        if answer.get("usage", name) == 0 and answer.text:
            yield Finding(f"{name} of at least 1", 0)


@check("chat.limit", "chat.limit-old")
def limit(answer: Answer) -> Iterator[Finding]:
    """One token was allowed. A token is rarely more than a word; forty letters are more than one."""
    count = answer.get("usage", "completion_tokens")
    if isinstance(count, int) and count > 1:
        yield Finding("at most 1 completion token", count, silent=True)
    elif len(answer.text) > 40:
        yield Finding("a text of one token", answer.text, silent=True)


@check("chat.cut-is-length")
def cut_is_length(answer: Answer) -> Iterator[Finding]:
    """Nobody counts to twenty in one token."""
    reason = answer.get("choices", 0, "finish_reason")
    count = answer.get("usage", "completion_tokens")
    if reason != "length" and reason in {"stop", "tool_calls", "content_filter", "function_call"} and count == 1:
        yield Finding('finish_reason "length"', reason)


@check("chat.n")
def n(answer: Answer) -> Iterator[Finding]:
    """Two were asked for."""
    if len(choices(answer)) != 2:
        yield Finding("2 choices", f"{len(choices(answer))}", silent=True)


def usage_of_all(answer: Answer, limit: Any) -> Iterator[Finding]:
    """Whether the usage counts every choice; told where each was cut by the limit, so that its tokens are known."""
    counted = answer.get("usage", "completion_tokens")
    cut = [choice for choice in choices(answer) if dig(choice, "finish_reason") == "length"]
    if len(cut) > 1 and isinstance(counted, int) and isinstance(limit, int) and counted <= limit:
        yield Finding(f"completion_tokens of {len(cut)} choices of {limit} tokens each", counted)


@check("chat.usage-choices")
def usage_choices(answer: Answer) -> Iterator[Finding]:
    """What was spent on both."""
    yield from usage_of_all(answer, dig(answer.sent.json, "max_completion_tokens"))


def contains_stop(answer: Answer, text: str) -> Iterator[Finding]:
    """Whether a text holds one of the stop sequences of its request."""
    stops = dig(answer.sent.json, "stop")
    for stop in [stops] if isinstance(stops, str) else items(stops):
        if stop in text:
            yield Finding(f"a text without {stop!r}", text, silent=True)


@check("chat.stop")
def stop(answer: Answer) -> Iterator[Finding]:
    """The sequence comes from an earlier answer to the same question, so the model is about to say it."""
    yield from contains_stop(answer, answer.text)


@check_together("chat.stop-finish")
def stop_finish(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Judged only where the text was cut, that is, where it begins as the earlier one did and is shorter."""
    cut, whole = answers["chat.stop"], answers["chat.plain"]
    if cut.text != whole.text and whole.text.startswith(cut.text):
        reason = cut.get("choices", 0, "finish_reason")
        if reason in {"length", "tool_calls", "content_filter", "function_call"}:
            yield Finding('finish_reason "stop"', reason)


@check_together("chat.seed")
def seed(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Two of two."""
    texts = [answers[name].text for name in ("chat.plain", "chat.again")]
    if len(set(texts)) > 1:
        yield Finding("the same text twice (k of n: 1 of 2)", texts)
