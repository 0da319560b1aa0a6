from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENDLESS, GREEDY, PARIS, POEM, Answer, answers, ask, begun, idle, open_engine, prompt, until

from specserve.backends.local.engine import Sampling
from specserve.backends.local.grammars.grammar import Grammar, Ref, choice
from specserve.backends.openvino.engine import OpenVINOEngine
from specserve.spec.errors import EngineFailure

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def engine(gguf: Path, run: Run) -> Iterator[OpenVINOEngine]:
    engine = run(open_engine(gguf))
    yield engine
    run(engine.stop())


def test_the_greedy_answer_names_paris_and_ends_by_itself(engine: OpenVINOEngine, run: Run) -> None:
    answer = run(ask(engine, PARIS))
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    assert not set(answer.ids) & {0, 2}


def test_a_grammar_binds_the_answer_and_a_broken_one_fails_alone(engine: OpenVINOEngine, run: Run) -> None:
    async def side_by_side() -> None:
        other = await begun(engine)
        bound = dataclasses.replace(GREEDY, grammar=Grammar({"root": choice(["red", "blue"])}))
        [answer] = await answers(engine, PARIS, bound, 1)
        assert (answer.text in {"red", "blue"}, answer.finish_reason) == (True, "stop")
        with pytest.raises(EngineFailure):
            await answers(engine, PARIS, dataclasses.replace(GREEDY, grammar=Grammar({"root": Ref("nowhere")})), 2)
        large = dataclasses.replace(GREEDY, grammar=Grammar({"root": choice([f"value {n}" for n in range(1000)])}))
        given_up = asyncio.ensure_future(answers(engine, PARIS, large, 3))
        await asyncio.sleep(0.01)
        given_up.cancel()
        assert [each.finish_reason for each in await answers(engine, PARIS, large, 2)] == ["stop"] * 2
        await anext(other)
        await other.aclose()
        await idle(engine)

    run(side_by_side())


def test_tokens_arrive_one_step_at_a_time(engine: OpenVINOEngine, run: Run) -> None:
    answer = run(ask(engine, POEM, max_tokens=16))
    assert [len(step) for step in answer.steps] == [1] * 16


def test_an_answer_as_long_as_allowed_ends_by_length_unless_its_last_token_ends_it(
    engine: OpenVINOEngine, run: Run
) -> None:
    whole = run(ask(engine, PARIS))
    visible = len(whole.ids)
    assert run(ask(engine, PARIS, max_tokens=visible)).finish_reason == "length"
    exact = run(ask(engine, PARIS, max_tokens=visible + 1))
    assert (exact.finish_reason, exact.ids) == ("stop", whole.ids)
    one = run(ask(engine, PARIS, max_tokens=1))
    assert (one.finish_reason, one.ids) == ("length", whole.ids[:1])


def test_min_tokens_puts_the_end_off_and_ignore_eos_does_away_with_it(engine: OpenVINOEngine, run: Run) -> None:
    visible = len(run(ask(engine, PARIS)).ids)
    assert len(run(ask(engine, PARIS, min_tokens=visible + 8, max_tokens=64)).ids) >= visible + 8
    endless = run(ask(engine, PARIS, ignore_eos=True, max_tokens=visible + 20))
    assert (len(endless.ids), endless.finish_reason) == (visible + 20, "length")


def test_a_stop_string_ends_the_answer_early(engine: OpenVINOEngine, run: Run) -> None:
    answer = run(ask(engine, PARIS, stop=("nowhere", "is Par")))
    assert (answer.text, answer.finish_reason) == ("The capital of France is Paris", "stop")


def test_a_stop_string_of_one_answer_leaves_the_others_alone(engine: OpenVINOEngine, run: Run) -> None:
    sampling = Sampling(max_tokens=40, seed=11, ignore_eos=True, stop=("e",))
    some = run(answers(engine, POEM, sampling, 4))
    assert {answer.finish_reason for answer in some} <= {"stop", "length"}
    assert all(
        answer.text.count("e") and "e" not in answer.text[:-8] for answer in some if answer.finish_reason == "stop"
    )
    assert len({len(answer.ids) for answer in some}) > 1


@pytest.mark.parametrize(
    "change",
    [
        {"repetition_penalty": 1.5},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"frequency_penalty": -2.0},
        {"temperature": 1.5, "seed": 1},
        {"temperature": 1.5, "seed": 2},
    ],
    ids=str,
)
def test_each_parameter_changes_the_answer(engine: OpenVINOEngine, run: Run, change: dict[str, Any]) -> None:
    assert run(ask(engine, POEM, **change)).ids != run(ask(engine, POEM)).ids


@pytest.mark.parametrize("change", [{"top_k": 1}, {"top_p": 0.01}, {"top_p": 0.0}, {"min_p": 1.0}], ids=str)
def test_each_filter_at_its_narrowest_leaves_the_likeliest(
    engine: OpenVINOEngine, run: Run, change: dict[str, Any]
) -> None:
    assert run(ask(engine, POEM, temperature=1.0, seed=5, **change)).ids == run(ask(engine, POEM)).ids


def test_frequency_penalty_works_against_repetition(engine: OpenVINOEngine, run: Run) -> None:
    penalised, encouraged = (
        run(ask(engine, POEM, frequency_penalty=penalty, max_tokens=60)).ids for penalty in (2.0, -2.0)
    )
    assert len(set(penalised)) > 2 * len(set(encouraged))


def test_the_same_seed_repeats_the_answer_and_no_seed_does_not(engine: OpenVINOEngine, run: Run) -> None:
    hot = Sampling(max_tokens=24, temperature=1.0)
    first, second, other = (run(ask(engine, POEM, hot, seed=seed)).ids for seed in (7, 7, 8))
    assert first == second != other
    assert run(ask(engine, POEM, hot)).ids != run(ask(engine, POEM, hot)).ids


def test_seeds_may_be_any_integer(engine: OpenVINOEngine, run: Run) -> None:
    for seed in (-1, 0, 2**63 - 1, -(2**63)):
        assert run(ask(engine, POEM, Sampling(max_tokens=4, seed=seed))).finish_reason == "length"


def test_n_answers_differ_and_repeat_with_the_seed(engine: OpenVINOEngine, run: Run) -> None:
    async def twice() -> tuple[list[Answer], list[Answer]]:
        hot = Sampling(max_tokens=16, seed=3)
        first = await answers(engine, POEM, hot, 3)
        await idle(engine)
        return first, await answers(engine, POEM, hot, 3)

    first, second = run(twice())
    assert [answer.ids for answer in first] == [answer.ids for answer in second]
    assert len({tuple(answer.ids) for answer in first}) == 3


def test_logprobs_come_with_each_token_when_asked_for(engine: OpenVINOEngine, run: Run) -> None:
    sure = run(ask(engine, "Say: one two three four five six seven eight nine", logprobs=True))
    assert len(sure.logprobs) == len(sure.ids)
    assert all(-20 < value <= 0 for value in sure.logprobs)
    assert run(ask(engine, PARIS)).logprobs == []


def test_logprobs_are_those_of_the_model_before_temperature(engine: OpenVINOEngine, run: Run) -> None:
    greedy = run(ask(engine, PARIS, logprobs=True))
    cold = run(ask(engine, PARIS, logprobs=True, temperature=0.01, top_k=1, presence_penalty=0.5))
    assert cold.ids[:4] == greedy.ids[:4]
    assert cold.logprobs[:4] == pytest.approx(greedy.logprobs[:4], abs=0.2)


def test_fifty_generations_at_once_all_complete(engine: OpenVINOEngine, run: Run) -> None:
    async def many() -> list[list[Answer]]:
        jobs = [answers(engine, f"Tell me about the number {i}.", GREEDY, 1) for i in range(50)]
        return await asyncio.gather(*jobs)

    results = [answer for [answer] in run(many())]
    assert all(answer.finish_reason in ("stop", "length") and answer.text for answer in results)
    run(idle(engine))


def test_the_event_loop_runs_on_while_the_engine_steps(engine: OpenVINOEngine, run: Run) -> None:
    async def turns() -> int:
        long_prompt = asyncio.ensure_future(answers(engine, "word " * 1500, Sampling(max_tokens=2), 1))
        turned = 0
        while not long_prompt.done():
            await asyncio.sleep(0.001)
            turned += 1
        await long_prompt
        return turned

    assert run(turns()) > 40  # if the engine held it up, it would turn once a step


def test_closing_a_generation_frees_it_at_once_and_harms_no_other(engine: OpenVINOEngine, run: Run) -> None:
    async def cut_off() -> None:
        unharmed = await begun(engine)
        doomed = [await begun(engine, f"Tell me about the number {i}.", n=2) for i in range(10)]
        held = engine.activity()
        assert held.running >= 11
        for generation in doomed:
            await generation.aclose()
        await until(lambda: engine.activity().running == 1)
        assert engine.activity().cache_usage < held.cache_usage / 2
        await unharmed.aclose()
        await idle(engine)
        assert engine.activity().cache_usage == 0

    run(cut_off())


def test_closing_before_the_first_step_leaves_nothing_behind(engine: OpenVINOEngine, run: Run) -> None:
    async def never_begun() -> None:
        untouched = engine.generate(prompt(engine, POEM), ENDLESS, 1)
        await untouched.aclose()
        waiting = asyncio.ensure_future(begun(engine, n=3))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.2)
        await idle(engine)

    run(never_begun())


def test_a_generation_that_nobody_reads_does_not_hold_up_the_others(engine: OpenVINOEngine, run: Run) -> None:
    async def with_a_sleeper() -> Answer:
        sleeper = await begun(engine)
        [answer] = await answers(engine, PARIS, GREEDY, 1)
        await sleeper.aclose()
        return answer

    assert "Paris" in run(with_a_sleeper()).text


def test_signals_to_the_whole_group_leave_the_engine_running(engine: OpenVINOEngine, run: Run) -> None:
    process = engine.pids[0]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process, number)
    assert "Paris" in run(ask(engine, PARIS)).text
