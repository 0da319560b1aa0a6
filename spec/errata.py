"""What explains a difference between the contract and the published spec: errata.yaml, read and applied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

# Stands for a value that one side does not have, in errata.yaml too.
ABSENT: Final = "absent"
EXTENSION: Final = "extension"
LEFT_OUT: Final = "left out"

Kind = Literal["missing", "extra", "different", "stale"]


@dataclass(frozen=True)
class Difference:
    """One place where the contract and the published spec differ.

    Attributes:
        path: Where, such as ``/schemas/Model/properties/id/type``.
        kind: What the contract has less (``missing``) or more (``extra``), or says in another way; ``stale`` is a place
            in errata.yaml that explains nothing.
        upstream: What the published spec says there, `ABSENT` if nothing.
        ours: What the contract says there, `ABSENT` if nothing.
        explanation: ``extension``, or the label of the entry that explains it. None is an error.
    """

    path: str
    kind: Kind
    upstream: Any
    ours: Any
    explanation: str | None = None


@dataclass(frozen=True, eq=False)
class Place:
    """Places that an entry explains.

    In ``pointer``, ``*`` stands for anything but a slash and ``{a,b}`` for one of several. Where ``upstream`` or
    ``ours`` is given, it must be what that side says.
    """

    pointer: str
    expected: Mapping[str, Any]

    def matches(self, difference: Difference) -> bool:
        """Whether a difference is at this place and of these values."""
        if not re.fullmatch(_regex(self.pointer), difference.path):
            return False
        said = {"upstream": difference.upstream, "ours": difference.ours}
        return all(said[side] == value for side, value in self.expected.items())


@dataclass(frozen=True)
class Entry:
    """An erratum, or what was left out: then its ``id`` is ``left out`` and only missing things are explained by it."""

    id: str
    what: str
    why: str
    evidence: str
    places: Sequence[Place]

    @property
    def label(self) -> str:
        """Names the entry in a report."""
        return f"{self.id}: {self.what}"


@dataclass(frozen=True)
class Errata:
    """All of errata.yaml. ``unseen`` are departures that a comparison of shapes cannot see."""

    errata: Sequence[Entry]
    left_out: Sequence[Entry]
    unseen: Sequence[Entry]

    @classmethod
    def read(cls, parsed: Mapping[str, Any]) -> Errata:
        """Make it of the parsed file.

        Raises:
            KeyError: An entry lacks a field.
        """
        return cls(
            errata=[_entry(item, item["id"]) for item in parsed["errata"]],
            left_out=[_entry(item, LEFT_OUT) for item in parsed["left_out"]],
            unseen=[_entry({**item, "at": []}, item["id"]) for item in parsed["unseen"]],
        )

    def explain(self, differences: Iterable[Difference]) -> list[Difference]:
        """Give each difference its explanation, and add one of the kind ``stale`` for each place that explains none."""
        entries = [*self.errata, *self.left_out]
        used: set[Place] = set()
        explained = []
        for difference in differences:
            found = difference
            for entry in entries:
                matching = [place for place in entry.places if _explains(entry, place, difference)]
                used.update(matching)
                if matching and found.explanation is None:
                    found = replace(found, explanation=entry.label)
            explained.append(found)
        stale = [
            Difference(place.pointer, "stale", ABSENT, entry.label)
            for entry in entries
            for place in entry.places
            if place not in used
        ]
        return explained + stale


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, ending with a newline."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


def tables(errata: Errata) -> dict[str, str]:
    """The tables that spec/README.md shows, by the name of their place in it."""
    return {
        "left-out": table(
            ("Left out", "Where", "Why"),
            ((e.what, ", ".join(f"`{place.pointer}`" for place in e.places), e.why) for e in errata.left_out),
        ),
        "errata": table(("Erratum", "What", "Why"), ((f"`{e.id}`", e.what, e.why) for e in errata.errata)),
        "unseen": table(("Departure", "What", "Why"), ((f"`{e.id}`", e.what, e.why) for e in errata.unseen)),
    }


def with_tables(readme: str, errata: Errata) -> str:
    """Write the tables into the text of spec/README.md, each between its ``begin`` and ``end`` comment."""
    for name, text in tables(errata).items():
        head, begin, rest = readme.partition(f"<!-- begin {name} -->\n")
        _, end, tail = rest.partition(f"<!-- end {name} -->")
        readme = head + begin + text + end + tail if end else readme
    return readme


def _explains(entry: Entry, place: Place, difference: Difference) -> bool:
    return place.matches(difference) and (entry.id != LEFT_OUT or difference.kind == "missing")


def _entry(item: Mapping[str, Any], name: str) -> Entry:
    places = [
        Place(at["pointer"], {side: at[side] for side in ("upstream", "ours") if side in at}) for at in item["at"]
    ]
    return Entry(name, item["what"], item["why"], item.get("evidence", ""), places)


def _regex(pointer: str) -> str:
    pattern = re.escape(pointer).replace(r"\*", "[^/]*")
    return re.sub(r"\\\{(.*?)\\\}", lambda match: f"(?:{match[1].replace(',', '|')})", pattern)
