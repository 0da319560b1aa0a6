"""The commands `specserve spec pin`, `diff` and `tables`."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import click

from specserve.spec.diff import diff
from specserve.spec.document import as_written, installed
from specserve.spec.errata import Difference, Errata, Kind, with_tables
from specserve.spec.made_docs import command
from specserve.spec.pin import NotPublishedError, pin

_KINDS: tuple[Kind, ...] = ("missing", "extra", "different", "stale")


@click.group()
def spec() -> None:
    """Compare the contract with the published OpenAI spec."""


@spec.command("pin")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("spec/upstream.yaml"),
    show_default=True,
    help="The file to write.",
)
def pin_command(file: Path, output: Path) -> None:
    """Reduce the published spec FILE to what the contract is compared with."""
    try:
        text = pin(file)
    except NotPublishedError as error:
        raise click.ClickException(str(error)) from error
    output.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {len(text)} characters")


@spec.command("diff")
def diff_command() -> None:
    """Print how the contract differs from the published spec, and why. Exit with 1 if anything is unexplained."""
    found = diff(
        as_written(),
        installed("specserve.spec", "upstream.yaml"),
        Errata.read(installed("specserve.spec", "errata.yaml")),
    )
    click.echo(report(found), nl=False)
    if any(difference.explanation is None for difference in found):
        sys.exit(1)


spec.add_command(
    command(
        lambda text: with_tables(text, _errata()),
        "spec/README.md",
        says="Write the tables of what was left out and of the errata into FILE.",
    ),
    "tables",
)


def report(found: list[Difference]) -> str:
    """The differences for people: unexplained ones first, then by explanation, then one line of counts."""
    lines: list[str] = []
    unexplained = [difference for difference in found if difference.explanation is None]
    if unexplained:
        lines += ["UNEXPLAINED", *map(_line, unexplained), ""]
    explained = sorted((d for d in found if d.explanation is not None), key=lambda d: str(d.explanation))
    for explanation, group in groupby(explained, key=lambda d: d.explanation):
        lines += [str(explanation), *map(_line, group), ""]
    counts = Counter(difference.kind for difference in found)
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS)
    lines.append(f"{kinds}; {len(unexplained)} unexplained")
    return "\n".join(lines) + "\n"


def _line(difference: Difference) -> str:
    return f"  {difference.kind:<9}  {difference.path}  {difference.upstream} -> {difference.ours}"


def _errata() -> Errata:
    return Errata.read(installed("specserve.spec", "errata.yaml"))
