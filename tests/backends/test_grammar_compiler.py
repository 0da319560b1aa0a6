"""How requests wait for their grammars, with a compiler that does as it is told."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from specserve.backends.openvino import grammar_compiler
from specserve.backends.openvino.grammar_compiler import GrammarQueue


class Told:
    """Waits for leave to compile; `bad` is no grammar, and any other takes memory."""

    def __init__(self) -> None:
        self.leave = threading.Semaphore(0)
        self.compiled: list[str] = []
        self._kept: list[bytes] = []

    def compile(self, grammar: str) -> None:
        self.leave.acquire()
        if grammar == "bad":
            raise RuntimeError("cannot read it")
        self.compiled.append(grammar)
        self._kept.append(b"x" * 40_000_000)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def passed() -> queue.SimpleQueue[dict[str, Any]]:
    return queue.SimpleQueue()


@pytest.fixture
def grammars(told: Told, passed: queue.SimpleQueue[dict[str, Any]]) -> GrammarQueue:
    return GrammarQueue(lambda: told, passed.put)  # type: ignore[arg-type,return-value] # all that it needs


def add(*ids: int, grammar: str = "good") -> dict[str, Any]:
    return {"add": list(ids), "seeds": [each + 100 for each in ids], "grammar": grammar}


def test_requests_go_on_when_theirs_is_compiled_without_those_that_were_given_up(told, passed, grammars) -> None:
    grammars.put(add(1, 2, 3, grammar="first"))
    grammars.put(add(4, grammar="never"))
    grammars.put(add(5, grammar="last"))
    grammars.cancel([2, 4, 99])
    assert grammars._ids
    told.leave.release(3)
    assert passed.get(timeout=60) == add(1, 3, grammar="first") | {"add": (1, 3), "seeds": (101, 103)}
    assert passed.get(timeout=60)["add"] == (5,)
    assert told.compiled == ["first", "last"]
    assert not grammars._ids


def test_a_grammar_that_is_none_fails_its_request_alone(told, passed, grammars) -> None:
    told.leave.release(2)
    grammars.put(add(1, 2, grammar="bad"))
    grammars.put(add(3))
    assert passed.get(timeout=60) == {"fail": (1, 2), "why": "!cannot read it"}
    assert passed.get(timeout=60)["add"] == (3,)


def test_what_is_kept_has_an_end(told, passed, grammars, monkeypatch) -> None:
    monkeypatch.setattr(grammar_compiler, "_MUCH", 20_000_000)
    monkeypatch.setattr(grammar_compiler, "_TOO_MUCH", 60_000_000)
    told.leave.release(9)
    assert not grammars.overfull
    grammars.put(add(1))
    assert passed.get(timeout=60)["add"] == (1,)
    assert grammars.overfull
    for each in (2, 3):
        grammars.put(add(each))
    assert passed.get(timeout=60)["add"] == (2,)
    assert "no memory" in passed.get(timeout=60)["why"]
