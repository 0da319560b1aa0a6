"""Writes the table of settings into docs/configuration.md: ``python -m specserve.settings_docs [--check] [FILE]``."""

from __future__ import annotations

from pathlib import Path

import click

from specserve.settings import Settings
from specserve.settings_sources import default_text, flag_name, group_of, is_list, variable_name

_BEGIN = "<!-- settings: made by `python -m specserve.settings_docs`, do not edit -->\n"
_END = "<!-- end of settings -->\n"


def table() -> str:
    """Describe every setting in Markdown, one table for each group."""
    groups: dict[str, list[str]] = {}
    for name in Settings.model_fields:
        groups.setdefault(group_of(name), []).append(_row(name))
    head = "| Key | Flag | Variable | Default | Meaning |\n|---|---|---|---|---|\n"
    return "\n".join(f"### {group}\n\n{head}{''.join(rows)}" for group, rows in groups.items())


def _row(name: str) -> str:
    default = default_text(name)
    note = " May be repeated." if is_list(name) else ""
    cells = (
        f"`{name}`",
        f"`{flag_name(name)}`",
        f"`{variable_name(name)}`",
        f"`{default}`" if default else "",
        f"{Settings.model_fields[name].description}{note}",
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def rewrite(text: str) -> str:
    """Put the current table between the markers of a document.

    Raises:
        ValueError: The markers are not there.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the markers of the settings table are missing")
    return f"{before}{begin}\n{table()}\n{end}{after}"


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if the file is stale.")
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=Path("docs/configuration.md"))
def main(*, check: bool, file: Path) -> None:
    """Write the table of settings into FILE."""
    text = file.read_text(encoding="utf-8")
    current = rewrite(text)
    if text == current:
        return
    if check:
        raise click.ClickException(f"{file} is stale: run python -m specserve.settings_docs")
    file.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
