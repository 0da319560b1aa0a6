"""Vectors of texts."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from specserve.conformance.checks import check, check_together
from specserve.conformance.evidence import Answer, Finding, dig, items

# Batches of another size may be added up in another order, and 32-bit floats are rounded.
SAME = 0.999


def entries(answer: Answer) -> list[Any]:
    """The vectors with what stands beside them, by index."""
    found = [entry for entry in items(answer.get("data")) if isinstance(dig(entry, "index"), int)]
    return sorted(found, key=lambda entry: int(entry["index"]))


def floats(value: Any) -> list[float] | None:
    """The numbers of a vector in either form; None if it is neither."""
    if isinstance(value, list):
        return [float(x) for x in value] if all(isinstance(x, int | float) for x in value) else None
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return list(struct.unpack(f"<{len(raw) // 4}f", raw))
        except (binascii.Error, struct.error, ValueError):
            return None
    return None


def cosine(a: list[float], b: list[float]) -> float:
    """How alike two vectors are; not a number, or of another length, is not alike."""
    if len(a) != len(b) or not all(map(math.isfinite, [*a, *b])):
        return -1.0
    scale = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / scale if scale and math.isfinite(scale) else -1.0


def _vectors(answer: Answer) -> list[list[float]]:
    return [vector for entry in entries(answer) if (vector := floats(dig(entry, "embedding")))]


def _texts(answer: Answer) -> int | None:
    """How many texts were sent; None if it was something else."""
    value = dig(answer.sent.json, "input")
    if isinstance(value, str):
        return 1
    texts = items(value)
    return len(texts) if texts and all(isinstance(text, str) for text in texts) else None


@check("embeddings.usage-counted")
def usage_counted(answer: Answer) -> Iterator[Finding]:
    """Text is made of tokens."""
    if answer.get("usage", "prompt_tokens") == 0:
        yield Finding("prompt_tokens of at least 1", 0)


@check("embeddings.count")
def count(answer: Answer) -> Iterator[Finding]:
    """One each."""
    found = answer.get("data")
    asked = _texts(answer)
    if isinstance(found, list) and asked is not None and len(found) != asked:
        yield Finding(f"{asked} vectors", len(found), silent=len(found) < asked)


@check("embeddings.index")
def index(answer: Answer) -> Iterator[Finding]:
    """0, 1, 2."""
    found = [entry["index"] for entry in entries(answer)]
    if found and found != list(range(len(found))):
        yield Finding(f"the indexes {list(range(len(found)))}", found)


@check_together("embeddings.order")
def order(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """The second text of the one is the only text of the other."""
    one, two = _vectors(answers["embeddings.one"]), _vectors(answers["embeddings.two"])
    if len(one) == 1 and len(two) == 2 and cosine(one[0], two[0]) > cosine(one[0], two[1]):
        yield Finding("the vector of the second text at index 1", "it stands at index 0")


@check("embeddings.base64")
def base64_given(answer: Answer) -> Iterator[Finding]:
    """The official clients ask for it by themselves."""
    value = answer.get("data", 0, "embedding")
    if isinstance(value, list):
        yield Finding("a string in base64", "a list of numbers", silent=True)


@check_together("embeddings.base64-same")
def base64_same(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Little-endian 32-bit floats."""
    plain, coded = (_vectors(answers[name]) for name in ("embeddings.two", "embeddings.base64"))
    for a, b in zip(plain, coded, strict=False):
        if cosine(a, b) < SAME:
            yield Finding(f"the numbers {a[:3]}...", f"{b[:3]}...")
            return


@check("embeddings.float-default")
def float_default(answer: Answer) -> Iterator[Finding]:
    """`float` is the default."""
    if isinstance(answer.get("data", 0, "embedding"), str):
        yield Finding("a list of numbers", "a string")


@check("embeddings.dimensions")
def dimensions(answer: Answer) -> Iterator[Finding]:
    """Eight were asked for."""
    asked = dig(answer.sent.json, "dimensions")
    for vector in _vectors(answer):
        if len(vector) != asked:
            yield Finding(f"{asked} numbers", len(vector), silent=True)
            return


@check("embeddings.finite")
def finite(answer: Answer) -> Iterator[Finding]:
    """A vector without length points nowhere. The coded form is compared with this one elsewhere."""
    for entry in entries(answer):
        value = dig(entry, "embedding")
        vector = floats(value) if isinstance(value, list) else None
        if vector is not None and (not all(map(math.isfinite, vector)) or not any(vector)):
            yield Finding("finite numbers, not all 0", vector[:3])
            return


@check("embeddings.tokens")
def tokens(answer: Answer) -> Iterator[Finding]:
    """One list of ids is one text."""
    found = answer.get("data")
    if isinstance(found, list) and len(found) != 1:
        yield Finding("one vector", len(found))
