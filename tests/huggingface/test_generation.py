"""The engine against transformers' own `generate`, with the paged cache and with one cache for each request."""

import asyncio
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_models
import torch

from specserve.backends.base import Activity, ModelSettings
from specserve.backends.huggingface import open_model
from specserve.backends.local.engine import Sampling

GREEDY = Sampling(max_tokens=40, temperature=0)
PROMPT = [0, 40, 55, 63, 71, 88, 102, 90, 17, 33, 250, 261]
OTHER = list(range(20, 90))
SIZE = 40  # tokens of a long answer


@pytest.fixture(scope="module", params=["llama paged", "llama single", "opt paged", "opt single"])
def opened(request, models, run):
    """An engine, and the same model as transformers opens it."""
    folder, _, cache = request.param.partition(" ")
    settings = ModelSettings(
        "m", "huggingface", str(models / folder), options={"paged": cache == "paged", "num_threads": 1}
    )
    backend = open_model(settings)
    run(backend.start())
    yield SimpleNamespace(
        engine=backend._inner.engine, model=tiny_models.causal(models / folder), paged=cache == "paged"
    )
    run(backend.stop())


async def answers(engine, prompt, sampling, n=1):
    gathered = [SimpleNamespace(ids=[], logprobs=[], others=[], end=None, by=None, last=None) for _ in range(n)]
    ranks = None
    async for step in engine.generate(prompt, sampling, n):
        for output in step:
            answer = gathered[output.index]
            assert answer.end is None
            answer.ids += output.token_ids
            answer.logprobs += output.logprobs
            answer.others += getattr(output, "alternatives", [])
            answer.end, answer.by = output.finish_reason, output.ended_by
            answer.last = getattr(output, "end", None)
            ranks = ranks or getattr(output, "prompt", None)
    for answer in gathered:
        answer.ranks = ranks
    return gathered


async def answer(engine, prompt=PROMPT, sampling=GREEDY, **changes):
    [only] = await answers(engine, prompt, replace(sampling, **changes))
    return only


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize("prompt", [PROMPT, OTHER, [7]], ids=["short", "long", "one token"])
def test_greedy_answers_are_those_of_generate_token_by_token(opened, run, prompt):
    expected = tiny_models.generated(opened.model, prompt, SIZE)
    got = run(answer(opened.engine, prompt))
    assert [*got.ids, *([got.by] if got.by is not None else [])] == expected
    assert got.end == ("stop" if expected[-1] == 1 else "length")


def test_answers_in_a_full_batch_are_those_given_alone(opened, run):
    prompts = [[0, *range(start, start + 3 + start % 50)] for start in range(10, 40)]
    short = replace(GREEDY, max_tokens=12)

    async def together():
        return await asyncio.gather(*(answer(opened.engine, prompt, short) for prompt in prompts))

    for prompt, got in list(zip(prompts, run(together()), strict=True))[::3]:
        expected = tiny_models.generated(opened.model, prompt, 12)
        assert [*got.ids, *([got.by] if got.by is not None else [])] == expected


def test_a_repetition_penalty_is_that_of_generate(opened, run):
    expected = tiny_models.generated(opened.model, PROMPT, SIZE, repetition_penalty=1.3, eos_token_id=None)
    assert run(answer(opened.engine, repetition_penalty=1.3, ignore_eos=True)).ids == expected
    assert expected != tiny_models.generated(opened.model, PROMPT, SIZE, eos_token_id=None)


def test_presence_and_frequency_penalties_are_subtracted_from_the_logits_of_what_was_generated(opened, run):
    got = run(answer(opened.engine, presence_penalty=0.7, frequency_penalty=0.4, ignore_eos=True)).ids
    table = tiny_models.logprobs(opened.model, [*PROMPT, *got])
    for at, token in enumerate(got):
        adjusted = table[len(PROMPT) + at - 1].clone()[: opened.engine.tokenizer.size]
        for seen in set(got[:at]):
            adjusted[seen] -= 0.7 + 0.4 * got[:at].count(seen)
        assert int(adjusted.argmax()) == token


def test_a_bias_of_100_forces_a_token_and_one_of_minus_100_forbids_it(opened, run):
    free = run(answer(opened.engine, ignore_eos=True)).ids
    assert run(answer(opened.engine, logit_bias=((77, 100.0),), ignore_eos=True)).ids == [77] * SIZE
    bans = tuple((token, -100.0) for token in set(free))
    assert not set(run(answer(opened.engine, logit_bias=bans, ignore_eos=True)).ids) & set(free)
    hot = Sampling(max_tokens=SIZE, temperature=2, logit_bias=bans, ignore_eos=True)
    assert not set(run(answer(opened.engine, sampling=hot)).ids) & set(free)


def test_a_small_bias_is_added_exactly(opened, run):
    table = tiny_models.logprobs(opened.model, PROMPT)[-1][: opened.engine.tokenizer.size]
    (first, second), (chosen, runner_up) = (part.tolist() for part in table.topk(2))
    for short, token in ((0.01, chosen), (-0.01, runner_up)):
        bias = ((runner_up, first - second - short),)
        assert run(answer(opened.engine, max_tokens=1, logit_bias=bias, ignore_eos=True)).ids == [token]


def test_tokens_that_only_the_table_of_the_model_has_never_come(opened, run):
    hot = Sampling(max_tokens=300, temperature=2, ignore_eos=True)
    assert max(run(answer(opened.engine, sampling=hot)).ids) < opened.engine.tokenizer.size


@pytest.mark.parametrize("change", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-7}], ids=str)
def test_each_filter_at_its_narrowest_leaves_the_likeliest(opened, run, change):
    hot = Sampling(max_tokens=SIZE, temperature=1.0, ignore_eos=True)
    assert run(answer(opened.engine, sampling=hot, **change)).ids == run(answer(opened.engine, ignore_eos=True)).ids


@pytest.mark.parametrize("change", [{"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.3}, {"top_k": 8, "top_p": 0.5}], ids=str)
def test_filters_let_through_what_they_should_and_nothing_else(opened, run, change):
    table = tiny_models.logprobs(opened.model, PROMPT)[-1][: opened.engine.tokenizer.size].softmax(-1)
    kept, ids = table.sort(descending=True)
    count = change.get("top_k", len(kept))
    kept, ids = kept[:count], ids[:count]
    if "top_p" in change:
        kept = kept[(kept.cumsum(-1) - kept) < change["top_p"] * kept.sum()]
    allowed = ids[: len(kept)][kept >= change.get("min_p", 0) * kept[0]].tolist()
    hot = Sampling(max_tokens=1, temperature=1.0, ignore_eos=True, seed=1)
    got = {ids[0] for ids in (each.ids for each in run(answers(opened.engine, PROMPT, replace(hot, **change), 60)))}
    assert got <= set(allowed)
    assert len(got) > 1 or len(allowed) == 1


def test_sampling_follows_the_models_distribution(opened, run):
    table = tiny_models.logprobs(opened.model, PROMPT)[-1][: opened.engine.tokenizer.size].softmax(-1)
    drawn = [
        each.ids[0]
        for each in run(answers(opened.engine, PROMPT, Sampling(max_tokens=1, seed=5, ignore_eos=True), 400))
    ]
    for token in table.topk(3).indices.tolist():
        share, expected = drawn.count(token) / 400, float(table[token])
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / 400)  # a seed: always the same draw


def test_a_seed_repeats_an_answer_also_among_others_and_no_seed_does_not(opened, run):
    hot = Sampling(max_tokens=20, temperature=1.0, ignore_eos=True)

    async def draw():
        alone = await answers(opened.engine, PROMPT, replace(hot, seed=7), 3)
        crowd = [answer(opened.engine, OTHER, hot) for _ in range(5)]
        among = (await asyncio.gather(answers(opened.engine, PROMPT, replace(hot, seed=7), 3), *crowd))[0]
        return alone, among, await answer(opened.engine, sampling=hot), await answer(opened.engine, sampling=hot)

    alone, among, free, other = run(draw())
    assert [each.ids for each in alone] == [each.ids for each in among]
    assert len({tuple(each.ids) for each in alone}) == 3
    assert free.ids != other.ids


@pytest.mark.parametrize("seed", [-1, 0, 2**63 - 1, -(2**63)])
def test_seeds_may_be_any_integer(opened, run, seed):
    assert run(answer(opened.engine, sampling=Sampling(max_tokens=4, seed=seed))).end


def test_min_tokens_puts_the_end_off_and_ignore_eos_does_away_with_it(opened, run):
    ends = Sampling(max_tokens=30, temperature=0, logit_bias=((1, 100.0),))
    got = run(answer(opened.engine, sampling=ends))
    assert (got.ids, got.end, got.by) == ([], "stop", 1)
    got = run(answer(opened.engine, sampling=ends, min_tokens=7))
    assert (len(got.ids), got.end) == (7, "stop")
    got = run(answer(opened.engine, sampling=ends, ignore_eos=True))
    assert (got.ids, got.end) == ([1] * 30, "length")


def test_log_probabilities_are_the_models_own_whatever_was_asked_for(opened, run):
    asked = Sampling(
        max_tokens=12, temperature=0.7, seed=3, top_k=9, presence_penalty=1.0, logit_bias=((50, 5.0),), ignore_eos=True,
        logprobs=True, ranked=True,
    )  # fmt: skip
    got = run(answer(opened.engine, sampling=asked))
    size = opened.engine.tokenizer.size
    with torch.inference_mode():
        table = opened.model(torch.tensor([[*PROMPT, *got.ids]])).logits[0, :, :size].log_softmax(-1)
    for at, token in enumerate(got.ids):
        row = table[len(PROMPT) + at - 1]
        assert got.logprobs[at] == pytest.approx(float(row[token]), abs=1e-3)
        assert [token for token, _ in got.others[at]] == row.topk(20).indices.tolist()
        assert [value for _, value in got.others[at]] == pytest.approx(row.topk(20).values.tolist(), abs=1e-3)


def test_a_prompt_is_scored_and_the_end_too(opened, run):
    prompt = [(at * 13) % 300 for at in range(400)]
    ends = Sampling(max_tokens=4, temperature=0, logit_bias=((1, 100.0),), logprobs=True, ranked=True, rank_prompt=True)
    for some in (prompt, [5]):
        got = run(answer(opened.engine, some, ends))
        with torch.inference_mode():
            table = opened.model(torch.tensor([some])).logits[0, :, : opened.engine.tokenizer.size].log_softmax(-1)
        assert got.end == "stop"
        assert got.last[0] == pytest.approx(float(table[-1, 1]), abs=1e-3)
        assert len(got.ranks or []) == len(some) - 1
        for at, (own, others) in enumerate(got.ranks or []):
            assert own == pytest.approx(float(table[at, some[at + 1]]), abs=1e-3)
            assert others[0][1] == pytest.approx(float(table[at].max()), abs=1e-3)
    assert run(answer(opened.engine, prompt, replace(ends, max_tokens=0))).end == "length"


def test_two_hundred_cancelled_requests_leave_nothing_behind(opened, run):
    pid = opened.engine.pids[0]
    endless = Sampling(max_tokens=300, temperature=1.0, ignore_eos=True)

    async def cancel(count):
        generations = [opened.engine.generate([0, 9 + at % 200, *OTHER], endless, 1 + at % 2) for at in range(count)]
        await asyncio.gather(*(anext(generation) for generation in generations[::2]))
        await asyncio.sleep(0)
        for generation in generations:  # every other one before its first step
            await generation.aclose()
        await until(lambda: opened.engine.activity() == Activity(0, 0.0))

    async def rounds():
        await cancel(50)
        settled = resident(pid)
        unharmed = asyncio.ensure_future(answer(opened.engine))
        for _ in range(4):
            await cancel(50)
        await unharmed
        await until(lambda: opened.engine.activity() == Activity(0, 0.0))
        return settled, unharmed.result()

    settled, unharmed = run(rounds())
    assert resident(pid) < settled + 30_000_000
    assert unharmed.ids == run(answer(opened.engine)).ids
    assert not opened.engine._sequences


def resident(pid):
    """Bytes of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def test_the_engine_holds_pages_while_it_generates_and_none_afterwards(opened, run):
    async def watch():
        generation = opened.engine.generate(PROMPT, Sampling(max_tokens=300, ignore_eos=True), 2)
        async for _ in generation:
            if opened.engine.activity().running == 2:
                break
        held = opened.engine.activity()
        await generation.aclose()
        await until(lambda: opened.engine.activity() == Activity(0, 0.0))
        return held

    held = run(watch())
    assert (held.cache_usage > 0) == opened.paged
