"""Writes the tables of settings in docs/: ``python -m specserve.made_docs.settings [--check] [FILE]``."""

from __future__ import annotations

from specserve.config.settings import Settings
from specserve.config.sources import default_text, flag_name, group_of, is_list, is_live, variable_name
from specserve.spec.made_docs import command

_BEGIN = "<!-- settings: made by `python -m specserve.made_docs.settings`, do not edit -->\n"
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
    note += " SIGHUP gives a new value effect." if is_live(name) else ""
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


main = command(rewrite, "docs/configuration.md", says="Write the table of settings into FILE.")

if __name__ == "__main__":
    main()
