"""What we rely on of transformers beyond its documentation; see `backends/huggingface/manager.py`."""

import time

import pytest
import tiny_models
import torch

from specserve.backends.huggingface.manager import Manager

PROMPT = [0, 40, 55, 63, 71]


@pytest.fixture
def manager(models):
    made = []

    def make(choose):
        model = tiny_models.causal(models / "llama", attn_implementation="sdpa")
        with torch.inference_mode():
            made.append(
                Manager(
                    model,
                    choose,
                    page_size=32,
                    num_blocks=16,
                    max_batch_tokens=64,
                    max_requests_per_batch=4,
                    allow_block_sharing=True,
                )
            )
        return made[-1]

    yield make
    for each in made:
        each.destroy()


def collected(manager, count):
    found = {}
    while len(found) < count:
        result = manager.result(60)
        assert result is not None
        assert result.error is None
        found[result.request_id] = list(result.generated_tokens)
    return found


def test_the_token_that_we_choose_for_each_row_is_the_one_that_comes(manager):
    seen = []

    def choose(names, rows):
        names = list(names)
        seen.append(names)
        for name, row in zip(names, rows, strict=False):
            row[int(name)] = float("inf")

    running = manager(choose)
    for name in ("70", "80", "90"):
        running.add(name, PROMPT, 3, [])
    assert collected(running, 3) == {name: [int(name)] * 3 for name in ("70", "80", "90")}
    assert running.capacity == 16 * 32
    assert any(len(names) > 1 for names in seen) or len(seen) >= 9


def test_a_sequence_ends_with_a_token_of_its_own_and_is_held_until_then(manager):
    held = []

    def choose(names, rows):
        held.append(running.held())
        for _, row in zip(names, rows, strict=False):
            row[80] = float("inf")

    running = manager(choose)
    running.add("1", PROMPT, 50, [80])
    assert collected(running, 1) == {"1": [80]}
    sequences, tokens = held[0]
    assert sequences == 1
    assert tokens >= len(PROMPT)
    until = time.monotonic() + 60
    while running.held()[0]:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert running.runs


def test_a_paused_manager_takes_no_step(manager):
    steps = []
    running = manager(lambda names, _rows: steps.append(list(names)))
    with running.paused():
        running.add("1", PROMPT, 2, [])
        assert running.result(0.5) is None
        assert not steps
    assert len(collected(running, 1)["1"]) == 2
