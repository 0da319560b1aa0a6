"""The list of models, and each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specserve.conformance.checks import check, check_together
from specserve.conformance.evidence import Answer, Finding, dig, items

# From 2001 to 2096 in seconds; the same moments in milliseconds lie far outside.
PLAUSIBLE_SECONDS = range(1_000_000_000, 4_000_000_000)


def not_in_seconds(value: Any) -> bool:
    """Whether a whole number cannot be a time of this century in seconds. Zero is how some say that they know none."""
    return isinstance(value, int) and value != 0 and value not in PLAUSIBLE_SECONDS


@check("models.entry.created-seconds")
def created_seconds(answer: Answer) -> Iterator[Finding]:
    """Not milliseconds."""
    for model in items(answer.get("data")):
        if not_in_seconds(dig(model, "created")):
            yield Finding("seconds since 1970", dig(model, "created"))
            return


@check("models.list.ids-unique")
def ids_unique(answer: Answer) -> Iterator[Finding]:
    """An id names one model."""
    ids = _ids(answer)
    if len(set(ids)) != len(ids):
        yield Finding("each id once", sorted({name for name in ids if ids.count(name) > 1}))


@check_together("models.list.stable")
def stable(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """`created` is the model's, not the request's."""
    first, second = ({dig(model, "id"): dig(model, "created") for model in _models(a)} for a in answers.values())
    for name in first.keys() & second.keys():
        if first[name] != second[name]:
            yield Finding(f"created {first[name]} again", second[name])
            return


@check_together("models.list.names-model")
def names_model(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """What answers can be found."""
    model = dig(answers["chat.plain"].sent.json, "model")
    ids = _ids(answers["models.list"])
    if model not in ids:
        yield Finding(f"{model} in the list", ids[:20])


@check_together("models.retrieve.same")
def same(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """The list and the single answer agree."""
    one = answers["models.retrieve"].json
    listed = [model for model in _models(answers["models.list"]) if dig(model, "id") == dig(one, "id")]
    if not isinstance(answers["models.list"].get("data"), list):
        return  # the schema tells it
    if not listed:
        yield Finding("a model of the list", dig(one, "id"))
    elif any(listed[0].get(key) != one.get(key) for key in ("id", "created", "owned_by")):
        yield Finding("the same id, created and owned_by as in the list", one)


def _models(answer: Answer) -> list[dict[str, Any]]:
    return [model for model in items(answer.get("data")) if isinstance(model, dict)]


def _ids(answer: Answer) -> list[str]:
    return [model["id"] for model in _models(answer) if isinstance(model.get("id"), str)]
