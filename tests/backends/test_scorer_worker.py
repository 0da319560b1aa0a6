"""The turns that texts take in the scorer's process, with a toy in place of the model."""

from __future__ import annotations

import io
import json
import random
from collections import defaultdict
from typing import Any

import pytest

from specserve.backends.openvino import scorer_worker
from specserve.backends.openvino.scorer_worker import Worker


class Toy:
    """Ranks a token by all that came before it, so that anything read wrongly shows."""

    bytes_per_token = 1

    def __init__(self) -> None:
        self.texts = 0

    def open(self) -> ToyText:
        self.texts += 1
        return ToyText(self)


class ToyText:
    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.tokens: list[int] = []

    def __del__(self) -> None:
        self.toy.texts -= 1

    @property
    def length(self) -> int:
        return len(self.tokens)

    def read(self, tokens: list[int], following: list[int], ranked_from: int) -> list[Any]:
        assert 0 < len(tokens) == len(following) <= 64
        ranks = []
        for at, (token, then) in enumerate(zip(tokens, following, strict=True)):
            self.tokens.append(token)
            if at >= ranked_from:
                ranks.append(rank([*self.tokens, then]))
        return ranks

    def snapshot(self) -> list[int]:
        return list(self.tokens)

    def restore(self, snapshot: list[int], length: int) -> None:
        assert length == len(snapshot)
        self.tokens = list(snapshot)


def rank(tokens: list[int]) -> list[Any]:
    return [-float(hash(tuple(tokens)) % 1000), [tokens[-1]], [len(tokens)]]


def expected(tokens: list[int], first: int) -> list[Any]:
    return [rank(tokens[: at + 1]) for at in range(first, len(tokens))]


class Desk:
    """A worker whose requests and replies are in our hands."""

    def __init__(self) -> None:
        self.toy = Toy()
        self.replies = io.BytesIO()
        self.worker = Worker(self.toy, self.replies)  # type: ignore[arg-type] # a toy

    def tell(self, **message: Any) -> None:
        self.worker.read(io.BytesIO(json.dumps(message).encode()))
        while self.worker._take_requests(wait=False):
            if self.worker._inbox.empty():
                break

    def work(self, steps: int = 10_000) -> None:
        while steps and self.worker._step():
            steps -= 1

    def ranks(self) -> dict[int, list[Any]]:
        found = defaultdict(list)
        for line in self.replies.getvalue().splitlines():
            text_id, ranks = json.loads(line)["ranks"]
            found[text_id] += ranks
        return found


def test_a_prompt_is_ranked_if_asked_for_and_what_follows_always() -> None:
    desk = Desk()
    prompt = list(range(200))
    desk.tell(open=[1], prompt=prompt, rank_prompt=True)
    desk.tell(open=[2], prompt=prompt, rank_prompt=False)
    desk.work()
    desk.tell(add=2, tokens=[7, 8])
    desk.work()
    assert desk.ranks() == {1: expected(prompt, 1), 2: expected([*prompt, 7, 8], 200)}


def test_several_continuations_read_their_prompt_once() -> None:
    desk = Desk()
    read = []
    original = ToyText.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ToyText, "read", lambda self, tokens, *rest: (read.append(len(tokens)), original(self, tokens, *rest))[1]
        )
        prompt = list(range(150))
        desk.tell(open=[1, 2, 3], prompt=prompt, rank_prompt=False)
        for text_id in (3, 2, 1):
            desk.tell(add=text_id, tokens=[text_id, 5])
        desk.work()
    assert sum(read) == 149 + 3 * 2
    assert desk.ranks() == {each: expected([*prompt, each, 5], 150) for each in (1, 2, 3)}


def test_a_closed_text_is_forgotten_and_the_next_reads_the_prompt() -> None:
    desk = Desk()
    prompt = list(range(150))
    desk.tell(open=[1, 2], prompt=prompt, rank_prompt=False)
    desk.work(steps=1)
    desk.tell(close=[1])
    desk.tell(add=1, tokens=[9])
    desk.tell(add=2, tokens=[9])
    desk.work()
    assert desk.ranks() == {2: expected([*prompt, 9], 150)}
    desk.tell(close=[2])
    assert desk.toy.texts == 0


@pytest.mark.parametrize("room", [10**9, 300, 100])
def test_whatever_the_order_and_the_room_the_ranks_are_the_same(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(scorer_worker, "_MOST_BYTES", room)
    chance = random.Random(room)
    for _ in range(20):
        desk = Desk()
        texts: dict[int, list[int]] = {}
        first: dict[int, int] = {}
        for _ in range(80):
            if chance.random() < 0.15 or not texts:
                ids = list(range(len(texts) + 1, len(texts) + 1 + chance.choice([1, 1, 3])))
                prompt = [chance.randrange(100) for _ in range(chance.choice([1, 2, 30, 65, 150]))]
                ranked = chance.random() < 0.3
                desk.tell(open=ids, prompt=prompt, rank_prompt=ranked)
                texts |= {each: list(prompt) for each in ids}
                first |= {each: 1 if ranked and each == ids[0] else len(prompt) for each in ids}
            else:
                each = chance.choice(list(texts))
                tokens = [chance.randrange(100) for _ in range(chance.choice([1, 1, 5]))]
                desk.tell(add=each, tokens=tokens)
                texts[each] += tokens
            desk.work(chance.choice([0, 1, 2]))
            held = desk.worker._held()
            assert held <= room or len([1 for text in desk.worker._texts.values() if text.text]) == 1
        wanted = {each: expected(tokens, first[each]) for each, tokens in texts.items()}
        while texts:  # those that wait for room get it as the others end
            desk.work()
            found = desk.ranks()
            ended = [each for each in texts if found[each] == wanted[each]]
            assert ended
            desk.tell(close=ended)
            texts = {each: tokens for each, tokens in texts.items() if each not in ended}
        assert desk.toy.texts == 0


def test_a_text_that_breaks_harms_no_other() -> None:
    desk = Desk()
    desk.tell(open=[1], prompt=[1, 2], rank_prompt=True)
    desk.tell(open=[2], prompt=[1, 2], rank_prompt=True)
    text = ToyText(desk.toy)
    text.read = None  # type: ignore[assignment,method-assign] # breaks
    desk.toy.texts += 1
    desk.worker._texts[1].text = text  # type: ignore[assignment] # a toy
    desk.work()
    broken, fine = map(json.loads, desk.replies.getvalue().splitlines())
    assert broken["broken"] == 1
    assert fine["ranks"][0] == 2
