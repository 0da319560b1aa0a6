"""Sets of texts as expressions, each made once: what regular expressions say, and their conjunctions and negations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.regex_tree import (
    ALL,
    Edge,
    Either,
    Look,
    Ranges,
    Seq,
    Set,
    Times,
    TooComplexPatternError,
    Tree,
    UnsupportedPatternError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_WORK = 60_000
_MOST_UNROLLED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """A set of texts; the same set may be written in several ways.

    Attributes:
        kind: ``set``, ``empty``, ``row``, ``any`` of, ``all`` of, ``not``, ``times``.
        parts: What it is made of.
        ranges: Of a ``set``.
        counts: Of ``times``.
        ends: Whether the empty text is in it.
        number: In which order it was made.
    """

    kind: str
    parts: tuple[Language, ...]
    ranges: Ranges
    counts: tuple[int, int | None]
    ends: bool
    number: int


class Languages:
    """Makes languages, within a limit of work.

    Attributes:
        ranges: All classes of characters that were used.
    """

    def __init__(self) -> None:
        self._made: dict[object, Language] = {}
        self._after: dict[tuple[Language, int], Language] = {}
        self._work = 0
        self.ranges: set[Ranges] = set()
        self.nothing = self._make("set", ends=False)
        self.empty_text = self._make("empty", ends=True)
        self.all = self.times(self.one_of(ALL), 0, None)

    def empty(self, language: Language) -> bool:
        """Whether the empty text is in it."""
        return language.ends

    def one_of(self, ranges: Ranges) -> Language:
        """One character of these."""
        if not ranges:
            return self.nothing
        self.ranges.add(ranges)
        return self._make("set", ranges=ranges, ends=False)

    def row(self, first: Language, second: Language) -> Language:
        """A text of the first, then one of the second."""
        if self.nothing in (first, second):
            return self.nothing
        if first is self.empty_text:
            return second
        if second is self.empty_text:
            return first
        if first.kind == "row":
            return self.row(first.parts[0], self.row(first.parts[1], second))
        return self._make("row", (first, second), ends=first.ends and second.ends)

    def any(self, parts: Iterable[Language]) -> Language:
        """What is in at least one of these."""
        flat = self._flat("any", parts) - {self.nothing}
        if self.all in flat:
            return self.all
        if not flat:
            return self.nothing
        if len(flat) == 1:
            return flat.pop()
        ordered = tuple(sorted(flat, key=_number))
        return self._make("any", ordered, ends=any(part.ends for part in ordered))

    def both(self, parts: Iterable[Language]) -> Language:
        """What is in each of these."""
        flat = self._flat("all", parts) - {self.all}
        if self.nothing in flat:
            return self.nothing
        if not flat:
            return self.all
        if len(flat) == 1:
            return flat.pop()
        ordered = tuple(sorted(flat, key=_number))
        return self._make("all", ordered, ends=all(part.ends for part in ordered))

    def other(self, part: Language) -> Language:
        """What is not in it."""
        if part.kind == "not":
            return part.parts[0]
        if part is self.nothing:
            return self.all
        if part is self.all:
            return self.nothing
        return self._make("not", (part,), ends=not part.ends)

    def times(self, part: Language, least: int, most: int | None) -> Language:
        """A text of it, several times."""
        if most == 0 or part is self.empty_text:
            return self.empty_text
        if part is self.nothing:
            return self.empty_text if least == 0 else self.nothing
        if (least, most) == (1, 1):
            return part
        least = 0 if part.ends else least
        return self._make("times", (part,), counts=(least, most), ends=least == 0)

    def after(self, language: Language, code: int) -> Language:
        """What may follow this character in a text that begins with it."""
        key = language, code
        known = self._after.get(key)
        if known is None:
            self._count()
            known = self._after[key] = self._following(language, code)
        return known

    def of(self, tree: Tree) -> Language:
        """The texts that an expression matches somewhere.

        Raises:
            UnsupportedPatternError: It has an anchor where none is understood, or look-ahead inside of what is repeated
                without end.
        """
        try:
            later = self.row(self.one_of(ALL), self.row(self.all, self._before(tree, self.all, "later")))
            return self.any([self._before(tree, self.all, "start"), later])
        except RecursionError as error:
            raise TooComplexPatternError("too many parts") from error

    def _before(self, tree: Tree, rest: Language, where: str) -> Language:
        """Texts that begin with what a tree matches and go on as `rest` says.

        Args:
            tree: The tree.
            rest: What follows.
            where: The ``start`` of the whole text, some place ``later``, or ``inside`` of the expression.
        """
        if not _looks(tree):
            return self.row(self._plain(tree), rest)
        self._count()
        match tree:
            case Seq(parts):
                for at in range(len(parts) - 1, -1, -1):
                    takes = any(map(_takes, parts[:at]))
                    rest = self._before(parts[at], rest, "inside" if takes else where)
                return rest
            case Either(parts):
                return self.any(self._before(part, rest, where) for part in parts)
            case Look(part, wanted):
                ahead = self._before(part, self.all, where)
                return self.both([ahead if wanted else self.other(ahead), rest])
            case Edge(end):
                return self.both([self.empty_text, rest]) if end else self._at_begin(rest, where)
            case Times(part, least, most) if most is not None and most <= _MOST_UNROLLED:
                optional = rest
                for _ in range(most - least):
                    optional = self.any([rest, self._before(part, optional, "inside")])
                for _ in range(least):
                    optional = self._before(part, optional, "inside")
                return optional
        raise UnsupportedPatternError("look-ahead or an anchor inside of what is repeated")

    def _at_begin(self, rest: Language, where: str) -> Language:
        if where == "inside":
            raise UnsupportedPatternError("an anchor inside")
        return rest if where == "start" else self.nothing

    def _plain(self, tree: Tree) -> Language:
        match tree:
            case Set(ranges):
                return self.one_of(ranges)
            case Seq(parts):
                made = self.empty_text
                for part in reversed(parts):
                    made = self.row(self._plain(part), made)
                return made
            case Either(parts):
                return self.any(map(self._plain, parts))
            case Times(part, least, most):
                return self.times(self._plain(part), least, most)
        raise UnsupportedPatternError("an anchor inside")

    def _following(self, language: Language, code: int) -> Language:
        parts = language.parts
        match language.kind:
            case "set":
                within = any(low <= code <= high for low, high in language.ranges)
                return self.empty_text if within else self.nothing
            case "row":
                first = self.row(self.after(parts[0], code), parts[1])
                return self.any([first, self.after(parts[1], code)]) if parts[0].ends else first
            case "any":
                return self.any([self.after(part, code) for part in parts])
            case "all":
                return self.both([self.after(part, code) for part in parts])
            case "not":
                return self.other(self.after(parts[0], code))
            case "times":
                least, most = language.counts
                rest = self.times(parts[0], max(0, least - 1), None if most is None else most - 1)
                return self.row(self.after(parts[0], code), rest)
        return self.nothing

    def _flat(self, kind: str, parts: Iterable[Language]) -> set[Language]:
        flat: set[Language] = set()
        for part in parts:
            flat.update(part.parts if part.kind == kind else (part,))
        self._count(len(flat))
        return flat

    def _count(self, steps: int = 1) -> None:
        self._work += steps
        if self._work > _MOST_WORK:
            raise TooComplexPatternError("too many ways to read a text")

    def _make(
        self,
        kind: str,
        parts: tuple[Language, ...] = (),
        *,
        ranges: Ranges = (),
        counts: tuple[int, int | None] = (1, 1),
        ends: bool,
    ) -> Language:
        key = kind, parts, ranges, counts
        made = self._made.get(key)
        if made is None:
            self._count()
            made = self._made[key] = Language(kind, parts, ranges, counts, ends, len(self._made))
        return made


def _number(language: Language) -> int:
    return language.number


def _looks(tree: Tree) -> bool:
    match tree:
        case Look() | Edge():
            return True
        case Seq(parts) | Either(parts):
            return any(map(_looks, parts))
        case Times(part, _, _):
            return _looks(part)
    return False


def _takes(tree: Tree) -> bool:
    """Whether it can take a character."""
    match tree:
        case Set() | Times():
            return True
        case Seq(parts) | Either(parts):
            return any(map(_takes, parts))
    return False
