"""From samples to figures and verdicts, on samples whose figures can be worked out by hand."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specserve.loadtest import judgement
from specserve.loadtest.metrics import StageRecord, is_good, summarise
from specserve.loadtest.plan import Plan, Shape
from specserve.loadtest.sample import Failure, Sample
from specserve.loadtest.slo import Objective
from specserve.loadtest.statistics import describe, interval, percentile
from specserve.loadtest.steps import next_load


def plan(*objectives, **changes):
    said = {"base_url": "http://127.0.0.1/v1", "model": "m", "loads": (2.0,), "open_loop": True}
    return Plan(**{**said, "objectives": tuple(map(Objective.parse, objectives)), **changes})


def sample(at, first=0.1, gap=0.01, chunks=5, tokens=None, **changes):
    times = [at + first + number * gap for number in range(chunks)]
    said = {
        "scheduled": at, "sent": at, "connected": at, "first_event": at + first / 2, "tokens_at": times,
        "done": times[-1], "ended": times[-1], "status": 200, "output_limit": 10,
        "prompt_tokens": 20, "completion_tokens": chunks if tokens is None else tokens,
    }  # fmt: skip
    return Sample(0, round(at * 1000), **{**said, **changes})


def record(samples, load=2.0, index=0):
    return StageRecord(index, load, 0.0, 10.0, 20.0, samples, drained=25.0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(values, part):
    ordered = sorted(values)
    found = percentile(ordered, part)
    assert sum(value <= found for value in ordered) >= part * len(ordered) - 1e-6
    assert sum(value < found for value in ordered) < part * len(ordered)


def test_statistics_are_exact():
    found = describe([4.0, 1.0, 3.0, 2.0])
    assert (found["count"], found["mean"], found["min"], found["max"], found["p50"], found["p99"]) == (
        4,
        2.5,
        1,
        4,
        2,
        4,
    )
    assert found["sd"] == pytest.approx(math.sqrt(5 / 3))
    assert describe([]) is None


def test_the_interval_of_a_percentile_holds_it_as_often_as_it_says():
    rng = random.Random(5)
    held = 0
    for _ in range(1000):
        low, high = interval(sorted(rng.random() for _ in range(400)), 0.95)
        held += low <= 0.95 <= high
    assert 925 <= held <= 985
    assert interval([1.0] * 20, 0.99) is None


def test_the_figures_of_a_request():
    figures = sample(1.0, first=0.2, gap=0.05, chunks=5, tokens=9, sent=1.5, connected=1.6).figures()
    assert figures == pytest.approx(
        {
            "ttft_event": -0.4, "ttft_token": -0.3, "tpot": 0.2 / 8, "tail": 0.0, "ttft_token_scheduled": 0.2,
            "e2e": -0.1, "e2e_scheduled": 0.4, "connect": 0.1,
        }
    )  # fmt: skip


def test_one_token_has_no_time_per_token():
    assert "tpot" not in sample(1.0, chunks=1).figures()
    assert "tpot" not in sample(1.0, chunks=1, tokens=3).figures()


def test_only_the_window_is_measured_however_late_a_request_ends():
    warm = sample(9.99, first=0.5, chunks=1, tokens=4)  # due before the window, answered in it
    late = sample(19.9, first=4.0)
    inside = [sample(10.0 + number) for number in range(5)]
    stage = summarise(plan(), record([warm, late, *inside]))
    assert stage["requests"] | {"errors": 0} == {
        "due": 6, "sent": 6, "succeeded": 6, "failed": 0, "not_sent": 0, "aborted": 0, "finished": 6, "warmup": 1,
        "errors": 0,
    }  # fmt: skip
    assert stage["latency"]["ttft_token"]["max"] == pytest.approx(4.0)
    assert stage["rates"]["offered_per_s"] == 0.6
    assert stage["rates"]["completed_per_s"] == 0.6  # with the warm one, without the late one
    assert stage["rates"]["output_tokens_per_s"] == pytest.approx((5 * 5 + 4) / 10)
    assert stage["rates"]["input_tokens_per_s"] == pytest.approx(6 * 20 / 10)


def test_tokens_that_come_after_the_window_do_not_count():
    stage = summarise(plan(), record([sample(19.0, first=0.55, gap=0.1, chunks=10, tokens=20)]))
    assert stage["rates"]["output_tokens_per_s"] == pytest.approx(20 * 5 / 10 / 10)


def test_failures_are_counted_by_class_and_have_no_latency():
    failed = [
        sample(11, failure=Failure.HTTP, status=429),
        sample(12, failure=Failure.HTTP, status=429),
        sample(13, failure=Failure.CUT),
        sample(14, failure=Failure.NOT_SENT, sent=None, tokens_at=[], ended=None),
        sample(15, failure=Failure.ABORTED),
    ]
    stage = summarise(plan(), record([*failed, sample(16)]))
    assert stage["requests"]["errors"] == {"http 429": 2, "cut": 1, "not_sent": 1}
    assert (stage["requests"]["failed"], stage["requests"]["not_sent"], stage["requests"]["aborted"]) == (3, 1, 1)
    assert stage["rates"]["errors"] == 0.8
    assert stage["latency"]["e2e"]["count"] == 1


def test_schedule_lag_is_told():
    stage = summarise(plan(), record([sample(11, sent=11.25)]))
    assert stage["generator"]["schedule_lag"]["p50"] == 0.25


def test_in_flight_is_exact():
    stage = summarise(
        plan(), record([sample(9, first=2, chunks=1), sample(10, first=1, chunks=1), sample(19, first=3)])
    )
    assert stage["in_flight"] == pytest.approx({"mean": 0.3, "max": 2, "first": 2, "last": 1})


def test_chunks_are_counted_where_usage_is_missing():
    stage = summarise(plan(), record([sample(11, chunks=3, completion_tokens=None), sample(12, tokens=10)]))
    assert stage["tokens"]["source"] == "usage and chunks"
    assert stage["tokens"]["without_usage"] == 1
    assert stage["tokens"]["per_chunk"] == 2
    assert stage["tokens"]["output"]["min"] == 3


def test_goodput_needs_every_threshold():
    objectives = plan("ttft_token:p95<150ms", "itl:p99<20ms", "error_rate<1%").objectives
    assert is_good(sample(1.0), objectives)
    assert not is_good(sample(1.0, first=0.2), objectives)
    assert not is_good(sample(1.0, gap=0.03), objectives)
    assert not is_good(sample(1.0, failure=Failure.CUT), objectives)
    stage = summarise(plan("ttft_token:p95<150ms"), record([sample(11), sample(12, first=0.3)]))
    assert stage["rates"]["good_share"] == 0.5
    assert stage["rates"]["good_per_s"] == 0.1


def judged(samples, *objectives, previous=None, load=2.0, **changes):
    chosen = plan(*objectives, **changes)
    stage = summarise(chosen, record(samples, load))
    judgement.judge(chosen, stage, previous)
    return chosen, stage


GOOD = [sample(10 + number * 0.4) for number in range(24)]


def test_objectives_are_met_missed_or_undecided():
    chosen, stage = judged(GOOD, "ttft_token:p95<150ms", "e2e:p50<1ms", "ttft_token:p99<1s")
    assert [row["status"] for row in stage["objectives"]] == ["met", "missed", "undecided"]
    assert judgement.verdict(chosen, [stage], "")[0] == "missed"
    chosen, stage = judged(GOOD, "ttft_token:p99<1s")
    assert judgement.verdict(chosen, [stage], "")[0] == "inconclusive"
    chosen, stage = judged(GOOD, "ttft_token:p95<150ms")
    assert judgement.verdict(chosen, [stage], "") == ("met", [])
    chosen, stage = judged(GOOD)
    assert judgement.verdict(chosen, [stage], "") == ("measured", [])


def test_what_we_did_wrong_is_not_blamed_on_the_server():
    chosen, stage = judged([sample(11 + n, sent=11.2 + n) for n in range(5)], "ttft_token:p50<1ms")
    assert "behind the schedule" in stage["doubts"][0]
    assert judgement.verdict(chosen, [stage], "")[0] == "inconclusive"


def test_nothing_that_succeeded_is_inconclusive():
    chosen, stage = judged([sample(11, failure=Failure.CONNECT)])
    assert judgement.verdict(chosen, [stage], "")[0] == "inconclusive"
    assert judgement.verdict(chosen, [], "")[0] == "inconclusive"
    assert judgement.verdict(chosen, [judged(GOOD)[1]], "interrupted") == ("inconclusive", ["interrupted"])


def test_a_queue_that_grows_is_saturation():
    growing = [sample(number * 0.25, first=0.3 * number, chunks=1) for number in range(80)]
    _, stage = judged(growing)
    assert "grew" in stage["saturated"]
    assert not stage["good"]
    assert not judged(GOOD)[1]["saturated"]


def test_users_who_bring_nothing_are_saturation():
    _, first = judged(GOOD, open_loop=False, load=2)
    _, second = judged(GOOD, open_loop=False, load=4, previous=first)
    assert second["saturated"]


def stages(**loads):
    return [
        {"load": float(load.removeprefix("_")), "good": good, "requests": {"succeeded": 1}}
        for load, good in loads.items()
    ]


def test_a_sweep_doubles_then_narrows_down():
    sweep = plan(shape=Shape.SWEEP)
    assert next_load(sweep, stages(_2=True)) == 4
    assert next_load(sweep, stages(_2=True, _4=True)) == 8
    assert next_load(sweep, stages(_2=True, _4=True, _8=False)) == 5.66
    assert next_load(sweep, [*stages(_2=True, _4=True, _8=False), *stages(_6=True)]) == 6.93
    assert next_load(sweep, [*stages(_2=True, _4=True, _8=False), *stages(_6=True, _7=False)]) is None


def test_a_sweep_that_begins_too_high_goes_down():
    sweep = plan(shape=Shape.SWEEP)
    assert next_load(sweep, stages(_8=False)) == 4
    assert next_load(sweep, stages(_8=False, _4=True)) == 5.66
    users = plan(shape=Shape.SWEEP, open_loop=False)
    assert next_load(users, stages(_1=False)) is None
    assert next_load(users, stages(_4=True, _8=False)) == 5


def test_a_sweep_ends():
    assert next_load(plan(shape=Shape.SWEEP, steps=2), stages(_2=True, _4=True)) is None
    dead = [{"load": 2.0, "good": False, "requests": {"succeeded": 0}}]
    assert next_load(plan(shape=Shape.SWEEP), dead) is None
    assert next_load(plan(), stages(_2=True)) is None
    listed = plan(shape=Shape.STAGES, loads=(1.0, 3.0))
    assert [next_load(listed, stages(**{f"_{n}": True for n in range(done)})) for done in (1, 2)] == [3.0, None]


def test_the_knee_is_the_highest_good_load():
    assert judgement.knee(stages(_2=True, _8=False, _4=True)) == 4
    assert judgement.knee(stages(_2=False)) is None
