"""Distributions, arrivals, objectives, caps: what a plan is made of."""

import random
from itertools import pairwise

import pytest

from specserve.loadtest.arrivals import Arrivals, BadArrivals
from specserve.loadtest.budget import BadPrices, Budget, Caps, Price, read_prices
from specserve.loadtest.distributions import BadDistribution, Distribution
from specserve.loadtest.plan import BadPlan, Plan, Shape
from specserve.loadtest.slo import BadObjective, Objective, least_samples, share


@pytest.mark.parametrize(
    ("text", "mean", "spread"),
    [("128", 128, 0), ("64-256", 160, 55.7), ("normal:128,32", 128, 32), ("lognormal:128,64", 128, 64)],
)
def test_a_distribution_has_the_mean_and_spread_that_it_names(text, mean, spread):
    rng = random.Random(7)
    drawn = [Distribution.parse(text).sample(rng) for _ in range(20_000)]
    found = sum(drawn) / len(drawn)
    assert found == pytest.approx(mean, rel=0.03)
    assert (sum((one - found) ** 2 for one in drawn) / len(drawn)) ** 0.5 == pytest.approx(spread, rel=0.06, abs=0.01)
    assert str(Distribution.parse(text)) == text
    assert min(drawn) >= 1


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "9-3", "normal:1", "normal:a,b", "pareto:1,2", "1.5", "nan", "9999999"]
)
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises(BadDistribution):
        Distribution.parse(text)


@pytest.mark.parametrize("text", ["constant", "poisson", "gamma:0.25", "gamma:4"])
def test_arrivals_keep_their_rate(text):
    times = Arrivals.parse(text).times(50, 400, random.Random(3))
    assert len(times) / 400 == pytest.approx(50, rel=0.04)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 400


def test_arrivals_are_as_even_as_they_say():
    def variation(text):
        times = Arrivals.parse(text).times(50, 400, random.Random(3))
        gaps = [b - a for a, b in pairwise(times)]
        mean = sum(gaps) / len(gaps)
        return (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean

    assert variation("constant") == pytest.approx(0, abs=1e-9)
    assert variation("poisson") == pytest.approx(1, rel=0.05)
    assert variation("gamma:0.25") == pytest.approx(2, rel=0.1)
    assert variation("gamma:4") == pytest.approx(0.5, rel=0.05)


def test_the_same_seed_gives_the_same_arrivals():
    first, second = (Arrivals().times(5, 60, random.Random(9)) for _ in range(2))
    assert first == second


def test_a_trace_is_played_as_it_is(tmp_path):
    file = tmp_path / "trace"
    file.write_text('0.5\n{"at": 0.1}\n\n2\n')
    arrivals = Arrivals.parse(f"trace:{file}")
    assert arrivals.times(99, 1.5, random.Random()) == [0.1, 0.5]
    assert arrivals.mean_rate == pytest.approx(1.5)


@pytest.mark.parametrize(
    "text", ["", "uniform", "gamma", "gamma:0", "gamma:x", "trace:", "trace:/no/file", "poisson:2"]
)
def test_what_is_no_arrivals_is_refused(text):
    with pytest.raises(BadArrivals):
        Arrivals.parse(text)


def test_a_trace_without_times_is_refused(tmp_path):
    for content in ("", "x", '{"time": 1}', "-1", "[]"):
        file = tmp_path / "trace"
        file.write_text(content)
        with pytest.raises(BadArrivals):
            Arrivals.parse(f"trace:{file}")


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "threshold"),
    [
        ("ttft_token:p95<500ms", "ttft_token", "p95", 0.5),
        ("e2e:mean <= 2s", "e2e", "mean", 2),
        ("error_rate<1%", "error_rate", "", 0.01),
        ("goodput>=0.95", "goodput", "", 0.95),
        ("output_tokens_rate>100", "output_tokens_rate", "", 100),
    ],
)
def test_an_objective_is_read(text, metric, statistic, threshold):
    objective = Objective.parse(text)
    assert (objective.metric, objective.statistic, objective.threshold) == (metric, statistic, threshold)


@pytest.mark.parametrize(
    "text",
    ["", "ttft_token<500ms", "ttft_token:p95<500", "ttft_token:p42<5ms", "speed:p50<1s", "goodput:p50>1",
     "error_rate<5ms", "completed_rate>5%", "ttft_token:p95=5ms", "ttft_token:p95<1.2.3ms"],
)  # fmt: skip
def test_what_is_no_objective_is_refused(text):
    with pytest.raises(BadObjective):
        Objective.parse(text)


def test_a_percentile_needs_as_many_samples_as_it_names():
    assert [least_samples(name) for name in ("p50", "p90", "p95", "p99", "p999", "max")] == [2, 10, 20, 100, 1000, 1]
    assert share("p999") == 0.999


def test_a_budget_is_never_passed():
    for caps in (Caps(requests=3), Caps(tokens=330), Caps(usd=0.0004)):
        budget = Budget(caps, Price(1.0, 1.0))
        sent = sum(budget.take(60, 50) for _ in range(10))
        assert sent == 3
        assert budget.refusal
        assert budget.usd <= (caps.usd or 1)
        assert budget.tokens == 330


def test_a_prompt_that_was_longer_than_planned_is_paid_for():
    budget = Budget(Caps(tokens=200), Price(1.0, 1.0))
    assert budget.take(50, 10)
    budget.settle(50, 170)
    assert budget.tokens == 180
    budget.settle(50, 10)
    budget.settle(50, None)
    assert budget.tokens == 180
    assert not budget.take(20, 1)


def test_processes_share_the_caps():
    assert Caps(10, 100, 3.0).share(3) == Caps(3, 33, 1.0)


def test_prices_are_read(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text('["m"]\ninput = 0.15\noutput = 0.6\n')
    assert read_prices(file) == {"m": Price(0.15, 0.6)}
    file.write_text('["m"]\ninput = 1\n')
    with pytest.raises(BadPrices):
        read_prices(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "ftp://x/v1"},
        {"base_url": "http://user@x/v1"},
        {"base_url": "http://127.0.0.1:99999/v1"},
        {"base_url": "http://[::1/v1"},
        {"base_url": "http://127.0.0.1/v1 x"},
        {"base_url": "http://127.0.0.1/v1\u00e9"},
        {"api_key": "a\r\nb"},
        {"processes": 2, "caps": Caps(requests=1)},
        {"loads": ()},
        {"loads": (0.0,)},
        {"loads": (1.5,)},
        {"loads": (1.0, 2.0)},
        {"loads": (1.0,), "processes": 2},
        {"duration": 0},
        {"caps": Caps(usd=1.0)},
        {"arrivals": Arrivals("trace", trace=(1.0,)), "shape": Shape.SWEEP},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes):
    with pytest.raises(BadPlan):
        Plan(**{"base_url": "http://127.0.0.1/v1", "model": "m", "loads": (2.0,), "open_loop": False, **changes})


def test_the_machine_itself_is_told_from_others():
    def loopback(host):
        return Plan(f"http://{host}/v1", "m", (1.0,), open_loop=True).is_loopback

    assert all(map(loopback, ("127.0.0.1:8000", "localhost", "[::1]:80", "127.9.9.9")))
    assert not any(map(loopback, ("10.0.0.1", "api.example.com", "127.0.0.1.example.com", "[2001:db8::1]")))
