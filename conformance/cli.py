"""The command ``specserve conform``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from specserve.conformance import families
from specserve.conformance import target as targets
from specserve.conformance.budget import Price, read_prices
from specserve.conformance.requirements import Level, Requirement, select
from specserve.conformance.requirements import load as load_requirements
from specserve.conformance.runner import Runner, plan


class _ConformGroup(click.Group):
    """A base address in place of a command is what most people type."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return "run", self.commands["run"], args
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a line without a command to `run`, wherever its options stand."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = ["list", *(a for a in args if a != "--list")] if "--list" in args else ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_ConformGroup,
    name="conform",
    context_settings={"help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS]",
    subcommand_metavar="BASE_URL | list | compare",
)
def conform() -> None:
    """Judge any server that claims to speak the OpenAI API.

    `specserve conform http://127.0.0.1:8000/v1 --report out` is all it takes; `specserve conform run --help` tells the
    options. Exit codes: 0 conformant, 1 not, 2 wrong usage, 3 inconclusive or out of budget, 4 the kit failed.
    """


def _selection(function: Any) -> Any:
    for option in (
        click.option(
            "--level", type=click.Choice(["must", "should", "may"]), default="may", help="Judge down to this level."
        ),
        click.option(
            "--only", multiple=True, metavar="GLOB", help="Judge only requirements whose id matches. Repeatable."
        ),
    ):
        function = option(function)
    return function


def _options(function: Any) -> Any:
    for option in reversed(
        (
            click.argument("base_url", required=False),
            click.option(
                "--target", "file", type=click.Path(path_type=Path), help="A TOML file that says the same as options."
            ),
            click.option("--api-key", metavar="KEY", help=f"The key; better in {targets.KEY_VARIABLE}."),
            click.option("--api-key-env", metavar="NAME", help="The environment variable that holds the key."),
            click.option("--model", help="The chat and completion model; the first of the list if not named."),
            click.option("--embedding-model", help="The embedding model; the same if not named."),
            click.option(
                "--profile",
                "profiles",
                multiple=True,
                metavar="NAME",
                help=f"What the server speaks beside core: {', '.join(families.profiles()[1:])}, all. Repeatable.",
            ),
            click.option("--max-requests", type=click.IntRange(0), metavar="N", help="Cap on billable requests."),
            click.option(
                "--max-tokens", type=click.IntRange(0), metavar="N", help="Cap on tokens, counted at their worst."
            ),
            click.option("--max-time", type=click.FloatRange(0), metavar="S", help="Cap on seconds."),
            click.option("--max-usd", type=click.FloatRange(0), metavar="X", help="Cap on dollars; needs --prices."),
            click.option(
                "--prices",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help='TOML: ["model"] with input and output.',
            ),
            click.option(
                "--allow", multiple=True, metavar="CLASS", help="Allow requests of a class: costly, destructive."
            ),
            click.option(
                "--timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="For one exchange; 60."
            ),
            click.option("--seed", type=int, metavar="N", help="Of fuzzing and of made-up words."),
        )
    ):
        function = option(function)
    return function


@conform.command()
@_options
@_selection
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write all reports there."
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), metavar="FILE", help="An earlier results.json: only news are red."
)
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be sent and what it may cost; send nothing.")
@click.option(
    "--fuzz", type=click.Choice(["off", "cheap", "deep"]), default="off", help="Send made-up requests as well."
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    report: Path | None,
    baseline: Path | None,
    fuzz: str,
    only: tuple[str, ...],
    level: str,
    *,
    only_plan: bool,
    **settings: Any,
) -> None:
    """Judge the server at BASE_URL (with its version part, such as http://127.0.0.1:8000/v1)."""
    from rich.console import Console

    from specserve.conformance import baseline as baselines
    from specserve.conformance import report as reports
    from specserve.conformance.report import document as documents
    from specserve.conformance.report import terminal

    console = Console()
    requirements = _chosen(only, level)
    try:
        target, price = _target(settings)
        known = baselines.read_results(baseline) if baseline else None
        if only_plan:
            _tell_plan(target, requirements, price)
            return
        with terminal.progress(console) as show:
            result = Runner(target, requirements, price=price, progress=show).run()
        if fuzz != "off":
            from specserve.conformance import fuzz as fuzzing

            result.outcomes += fuzzing.outcomes(result, deep=fuzz == "deep", console=console, price=price)
    except targets.BadTarget as error:
        raise click.UsageError(str(error)) from error
    document = documents.make(result)
    terminal.tell(document, console)
    code = int(document["exit_code"])
    if known is not None:
        comparison = baselines.compare(document, known)
        code = comparison.exit_code(document)
        console.print(f"baseline: {len(comparison.new)} new, {len(comparison.stale)} stale", highlight=False)
        for word, names in (("new", comparison.new), ("stale", comparison.stale)):
            for name in names:
                console.print(f"  {word}: {name}", highlight=False)
    if report is not None:
        try:
            reports.write(document, report)
        except OSError as error:
            raise click.UsageError(f"cannot write the report: {error}") from error
        console.print(f"report: {report / 'report.html'}", highlight=False, soft_wrap=True)
    ctx.exit(code)


@conform.command("list")
@_selection
def list_requirements(only: tuple[str, ...], level: str) -> None:
    """Print the requirements."""
    for requirement in _chosen(only, level):
        click.echo(f"{requirement.id:42} {requirement.level:6} {requirement.profile:12} {requirement.text}")


@conform.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
def compare(results: tuple[Path, ...]) -> None:
    """Print one table of several results.json, each of another server."""
    from specserve.conformance.baseline import read_results
    from specserve.conformance.matrix import matrix

    try:
        documents = [read_results(path) for path in results]
    except targets.BadTarget as error:
        raise click.UsageError(str(error)) from error
    names = [path.parent.name if path.stem == "results" and path.parent.name else path.stem for path in results]
    click.echo(matrix(documents, names), nl=False)


def _chosen(only: tuple[str, ...], level: str) -> list[Requirement]:
    found = select(load_requirements().values(), only=only, level=Level(level.upper()))
    if not found:
        raise click.UsageError("no requirement matches")
    return found


def _target(options: dict[str, Any]) -> tuple[targets.Target, Price | None]:
    """Lay the options over the file."""
    file: Path | None = options.pop("file")
    settings = targets.read(file) if file else {}
    prices: Path | None = options.pop("prices")
    limits = dict(settings.get("limits", {}))
    for name, key in (
        ("requests", "max_requests"),
        ("tokens", "max_tokens"),
        ("seconds", "max_time"),
        ("usd", "max_usd"),
    ):
        value = options.pop(key)
        if value is not None:
            limits[name] = value
    said = {key: value for key, value in options.items() if value not in (None, ())}
    target = targets.make({**settings, **said, "limits": limits})
    known = read_prices(prices) if prices else {}
    price = known.get(target.model)
    if known and price is None:
        msg = f"the prices name no model {target.model!r}"
        raise targets.BadTarget(msg)
    if target.limits.usd is not None and price is None:
        msg = "a cap in dollars needs the price of a named model: --model M --prices FILE"
        raise targets.BadTarget(msg)
    return target, price


def _tell_plan(target: targets.Target, requirements: list[Requirement], price: Price | None) -> None:
    steps = plan(replace(target, model=target.model or "MODEL"), requirements)
    tokens, usd, billable = 0, 0.0, 0
    for step in steps:
        if step.refusal is not None:
            click.echo(f"  -  {step.exchange.name:32} {step.refusal.status}: {step.refusal.reason}")
            continue
        tokens += step.cost.tokens
        billable += step.cost.billable
        usd += price.of(step.cost) if price else 0.0
        cost = f"at most {step.cost.tokens} tokens" if step.cost.billable else "free"
        click.echo(f"  {step.exchange.method:7} {step.exchange.name:32} {cost}")
    sent = sum(step.refusal is None for step in steps)
    dollars = f", {usd:.6f} USD" if price else ""
    click.echo(f"{sent} requests, {billable} of them billable, at most {tokens} tokens{dollars}; nothing was sent")
