"""One self-contained page for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

import jinja2

from specserve.conformance.statuses import MEANING, Status

# A page shows what needs a person's eye first.
_ORDER = ("ERROR", "FAIL", "SILENT", "INCONCLUSIVE", "NOT_RUN", "WARN", "UNSUPPORTED", "PASS", "SKIP")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["pretty"] = _pretty
    environment.filters["alike"] = _alike
    return environment.from_string(files("specserve.conformance.report").joinpath("page.html.jinja").read_text("utf-8"))


def html(document: Mapping[str, Any]) -> str:
    """Render the page."""
    declared = {name: position for position, name in enumerate(document["target"]["profiles"])}
    rows = sorted(
        document["requirements"], key=lambda row: (declared.get(row["profile"], len(declared)), row["profile"])
    )
    profiles = [(name, _sections(list(group))) for name, group in groupby(rows, key=lambda row: row["profile"])]
    attention = [row for name in _ORDER[:6] for row in document["requirements"] if row["status"] == name]
    return _template().render(
        document=document,
        profiles=profiles,
        attention=attention,
        statuses=[(name, document["counts"][name], MEANING[Status(name)]) for name in _ORDER],
    )


def _sections(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(family, list(group)) for family, group in groupby(rows, key=lambda row: row["family"])]


def _alike(findings: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[str]]]:
    """Findings that say the same, once, with the exchanges that show them."""
    found: dict[tuple[str, str, str], tuple[dict[str, Any], list[str]]] = {}
    for finding in findings:
        key = (finding["expected"], finding["actual"], finding["place"])
        names = found.setdefault(key, (finding, []))[1]
        names += [name for name in finding["exchange"].split(", ") if name not in names]
    return list(found.values())


def _pretty(text: str) -> str:
    """JSON with line breaks; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
