"""The command ``specserve load``. Locust is imported only when it runs: it changes the process it is in."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click

from specserve.loadtest.arrivals import Arrivals, BadArrivals
from specserve.loadtest.budget import BadPrices, Caps, read_prices
from specserve.loadtest.distributions import BadDistribution, Distribution
from specserve.loadtest.plan import KEY_VARIABLE, BadPlan, Plan, Shape
from specserve.loadtest.slo import BadObjective, Objective

_WRONG = (BadArrivals, BadDistribution, BadObjective, BadPlan, BadPrices)
_SECONDS = click.FloatRange(0, min_open=True)

_OPTIONS = (
    click.argument("base_url", required=False),
    click.option("--model", metavar="M", help="The model to ask."),
    click.option("--users", metavar="N[,N...]", help="Closed loop: so many users, each waiting for its answer."),
    click.option("--rate", metavar="R[,R...]", help="Open loop: so many requests a second, sent on schedule."),
    click.option(
        "--arrivals",
        default="poisson",
        metavar="A",
        help="Of an open loop: constant, poisson, gamma:BURSTINESS (1 is poisson, less is burstier) or trace:FILE.",
    ),
    click.option(
        "--shape",
        type=click.Choice([shape.value for shape in Shape]),
        help="steady: one load. stages: several, one after the other. sweep: double from the first until it is too "
        "much, then narrow down. Default: what the number of loads says.",
    ),
    click.option("--steps", type=click.IntRange(1, 50), default=8, metavar="N", help="Most stages of a sweep; 8."),
    click.option("--prompt-tokens", default="128", metavar="D", help="128, 64-256, normal:128,32, lognormal:128,64."),
    click.option("--output-tokens", default="64", metavar="D", help="The same for answers, as a limit; 64."),
    click.option("--dataset", type=click.Path(path_type=Path), metavar="FILE", help="JSONL with prompt or messages."),
    click.option(
        "--shared-prefix", type=click.IntRange(0), default=0, metavar="N", help="Tokens that all prompts begin with."
    ),
    click.option("--duration", type=_SECONDS, default=30.0, metavar="S", help="Seconds measured in each stage; 30."),
    click.option(
        "--warmup", type=click.FloatRange(0), default=5.0, metavar="S", help="Seconds before, not measured; 5."
    ),
    click.option("--timeout", type=_SECONDS, default=120.0, metavar="S", help="For one request; 120."),
    click.option("--max-requests", type=click.IntRange(1), default=100_000, metavar="N", help="Cap; 100000."),
    click.option(
        "--max-tokens", type=click.IntRange(1), default=50_000_000, metavar="N", help="Cap, at their worst; 50 million."
    ),
    click.option("--max-usd", type=click.FloatRange(0), metavar="X", help="Cap on dollars; needs --prices."),
    click.option(
        "--prices", type=click.Path(path_type=Path), metavar="FILE", help='TOML: ["model"] with input and output.'
    ),
    click.option(
        "--slo",
        "objectives",
        multiple=True,
        metavar="O",
        help="An objective: 'ttft_token:p95<500ms', 'error_rate<1%'. Repeatable.",
    ),
    click.option("--report", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write reports."),
    click.option("--seed", type=int, default=20261121, metavar="N", help="Of arrivals, lengths and words."),
    click.option(
        "--processes", type=click.IntRange(1, 64), default=1, metavar="N", help="That send; one fills a core at most."
    ),
    click.option(
        "--max-in-flight",
        type=click.IntRange(1),
        default=1000,
        metavar="N",
        help="Of an open loop: what is due beyond is not sent, and counted; 1000.",
    ),
    click.option(
        "--max-lag", type=_SECONDS, default=0.05, metavar="S", help="Behind the schedule (p99) that is trusted; 0.05."
    ),
    click.option(
        "--limit-field",
        type=click.Choice(["max_tokens", "max_completion_tokens"]),
        default="max_tokens",
        help="Which field says how long an answer may be.",
    ),
    click.option("--no-usage", is_flag=True, help="Do not ask for usage; chunks are counted."),
    click.option(
        "--extra-body", metavar="JSON", help="Fields added to each request, such as '{\"ignore_eos\": true}'."
    ),
    click.option("--api-key", metavar="KEY", help=f"The key; better in {KEY_VARIABLE}."),
    click.option("--api-key-env", metavar="NAME", help="The environment variable that holds the key."),
    click.option("--i-pay", is_flag=True, help="Yes, load a server that is not on this machine."),
    click.option("--ui", is_flag=True, help="Serve locust's page; a run begins when its button is pressed."),
    click.option("--ui-port", type=click.IntRange(1, 65535), default=8089, metavar="N", help="Of the page; 8089."),
    click.option(
        "--calibrate", is_flag=True, help="Measure our own error at this load on a stub; BASE_URL is not used."
    ),
    click.option(
        "--calibration/--no-calibration", default=True, help="Whether to measure our own error after the run; yes."
    ),
)


def _options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(name="load", context_settings={"help_option_names": ["-h", "--help"]})
@_options
@click.pass_context
def load(
    ctx: click.Context,
    /,
    report: Path | None,
    ui_port: int,
    *,
    ui: bool,
    calibrate: bool,
    calibration: bool,
    i_pay: bool,
    **said: Any,
) -> None:
    """Put load on the server at BASE_URL (with its version part, such as http://127.0.0.1:8000/v1).

    Exit codes: 0 objectives met, or none set; 1 not met; 2 wrong usage; 3 inconclusive: the server cannot be reached,
    too few samples, interrupted, or sending could not keep its schedule.
    """
    if calibrate:
        said |= {"base_url": "http://127.0.0.1/v1", "model": "stub"}
    try:
        plan = _plan(**said)
    except _WRONG as error:
        raise click.UsageError(str(error)) from error
    if not plan.is_loopback and not i_pay:
        msg = "the server is not on this machine: a load test may cost money, or somebody's patience; --i-pay says yes"
        raise click.UsageError(msg)
    # Before anything that may hold on to the blocking calls that gevent replaces.
    importlib.import_module("locust")
    from specserve.loadtest import command

    if calibrate:
        ctx.exit(command.calibrate(plan))
    try:
        ctx.exit(command.run(plan, report, ui_port if ui else None, calibrate=calibration))
    except command.BadDataset as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:  # a folder that cannot be written, a port that is taken
        raise click.UsageError(str(error)) from error


def _plan(
    base_url: str | None,
    model: str | None,
    users: str | None,
    rate: str | None,
    arrivals: str,
    shape: str | None,
    prompt_tokens: str,
    output_tokens: str,
    dataset: Path | None,
    prices: Path | None,
    objectives: tuple[str, ...],
    extra_body: str | None,
    api_key: str | None,
    api_key_env: str | None,
    *,
    no_usage: bool,
    **rest: Any,
) -> Plan:
    if not base_url:
        msg = "name the server: its base address, such as http://127.0.0.1:8000/v1"
        raise BadPlan(msg)
    if not model:
        msg = "name the model: --model M"
        raise BadPlan(msg)
    when = Arrivals.parse(arrivals)
    loads = _loads(users, rate, when)
    known = read_prices(prices) if prices else {}
    if known and model not in known:
        msg = f"the prices name no model {model!r}"
        raise BadPlan(msg)
    chosen = Shape(shape) if shape else (Shape.STAGES if len(loads) > 1 else Shape.STEADY)
    return Plan(
        base_url=base_url,
        model=model,
        loads=loads,
        open_loop=users is None,
        api_key=api_key or os.environ.get(api_key_env or KEY_VARIABLE) or None,
        shape=chosen,
        arrivals=when,
        prompt=Distribution.parse(prompt_tokens),
        output=Distribution.parse(output_tokens),
        dataset=dataset,
        caps=Caps(rest.pop("max_requests"), rest.pop("max_tokens"), rest.pop("max_usd")),
        price=known.get(model),
        objectives=tuple(Objective.parse(text) for text in objectives),
        most_in_flight=rest.pop("max_in_flight"),
        most_lag=rest.pop("max_lag"),
        usage=not no_usage,
        extra=_extra(extra_body),
        **rest,
    )


def _loads(users: str | None, rate: str | None, arrivals: Arrivals) -> tuple[float, ...]:
    if arrivals.kind == "trace" and users is None and rate is None:
        return (arrivals.mean_rate,)
    if arrivals.kind == "trace" or (users is None) == (rate is None):
        msg = "give --rate (open loop), --users (closed loop) or --arrivals trace:FILE, one of them"
        raise BadPlan(msg)
    text = users if users is not None else rate or ""
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        msg = f"not numbers: {text!r}"
        raise BadPlan(msg) from error


def _extra(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        extra = json.loads(text)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        msg = "--extra-body is a JSON object"
        raise BadPlan(msg)
    return extra
