"""Grammars of JSON texts that need no schema.

White space is bounded, since an engine that is told to hold to a grammar may go on with blanks for ever. No character
is written by its number: what needs no escape stands as it is, so a character is one when a length is counted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from specserve.backends.local.grammars.grammar import (
    HIGHEST,
    Chars,
    Choice,
    Node,
    Ref,
    Repeat,
    Rules,
    chars,
    choice,
    optional,
    row,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_QUOTED = (("\b", "b"), ("\t", "t"), ("\n", "n"), ("\f", "f"), ("\r", "r"), ('"', '"'), ("\\", "\\"))
_RARE = 0x40000
"""Nothing of meaning is from here on, and many vocabularies lack the bytes to write it."""
_PLAIN = without([(0x20, _RARE - 1)], [(ord('"'), ord('"')), (ord("\\"), ord("\\")), (0xD800, 0xDFFF)])
_DIGIT = Chars(((ord("0"), ord("9")),))
_DEEPEST_INDENT = 12
_DIGITS = 15
"""Digits before the point, and after it: what a double holds exactly."""


def character(ranges: Iterable[tuple[int, int]] = ((0, HIGHEST),)) -> Node | None:
    """One character of a JSON string, of these ranges; None if JSON has no short way to write any of them."""
    wanted = tuple(ranges)
    outside = without([(0, HIGHEST)], wanted)
    plain = without(_PLAIN, outside)
    parts: list[Node] = [Chars(plain)] if plain else []
    letters = [letter for code, letter in _QUOTED if any(low <= ord(code) <= high for low, high in wanted)]
    if letters:
        parts.append(row("\\", chars(*letters)))
    return choice(parts) if parts else None


def literal(value: Any) -> str:
    """The text of one JSON value."""
    text = json.dumps(value, ensure_ascii=False)
    strange = any("\ud800" <= character <= "\udfff" or ord(character) >= _RARE for character in text)
    return json.dumps(value) if strange else text


class JSONText:
    """Rules of JSON, each made when it is first asked for."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._any: Ref | None = None

    @property
    def gap(self) -> Node:
        """Where white space may stand: nothing, a blank, or a new line with its indent."""
        line = row("\n", Repeat(" ", 0, _DEEPEST_INDENT))
        return self._rules.add("gap", choice([optional(" "), line]))

    @property
    def character(self) -> Node:
        """Any character of a string."""
        return self._rules.add("char", character() or "")

    def string(self, least: int = 0, most: int | None = None) -> Node:
        """A string with so many characters."""
        return self._rules.add("string", row('"', self._rules.counted(self.character, least, most), '"'))

    @property
    def number(self) -> Node:
        """Any number that a double can hold."""
        exponent = row(chars("e", "E"), optional(chars("+", "-")), Repeat(_DIGIT, 1, 2))
        return self._rules.add("number", row(optional("-"), _whole(), optional(_fraction(_DIGITS)), optional(exponent)))

    @property
    def integer(self) -> Node:
        """Any integer that a double can hold."""
        return self._rules.add("integer", row(optional("-"), _whole()))

    @property
    def value(self) -> Node:
        """Any value."""
        if self._any is None:
            self._any = self._rules.new("value")
            words: list[Node] = ["true", "false", "null"]
            parts = [self.object(), self.array(self._any, 0, None), self.string(), self.number, *words]
            self._rules.set(self._any, choice(parts))
        return self._any

    def object(self) -> Node:
        """Any object."""
        value = self.value if self._any is None else self._any
        member = self._rules.add("member", self.member(self.string(), value))
        return self._rules.add("object", self.listing("{", member, "}", 0, None))

    def member(self, key: Node, value: Node) -> Node:
        """A key and its value."""
        return row(key, ":", optional(" "), value)

    def array(self, item: Node, least: int, most: int | None) -> Node:
        """An array with so many items of one kind."""
        return self._rules.add("array", self.listing("[", item, "]", least, most))

    def listing(self, opening: str, item: Node, closing: str, least: int, most: int | None) -> Node:
        """So many items between brackets."""
        if most == 0:
            return row(opening, closing)
        more = self._rules.add("more", row(",", self.gap, item))
        rest = self._rules.counted(more, max(least - 1, 0), None if most is None else most - 1)
        items = row(self.gap, item, rest, self.gap)
        return row(opening, items if least else optional(items), closing)

    def key_beside(self, names: Sequence[str]) -> Node:
        """A key that is none of `names`, without escapes."""
        plain = [name for name in names if all(any(low <= ord(c) <= high for low, high in _PLAIN) for c in name)]
        return self._rules.add("key", row('"', self._other_than(sorted(set(plain))), '"'))

    def _other_than(self, names: Sequence[str]) -> Node:
        """The rest of a text that does not end up as one of `names`."""
        anything = Repeat(self._rules.add("plain", Chars(_PLAIN)), 0, None)
        if not names:
            return anything
        firsts = sorted({name[0] for name in names if name})
        parts: list[Node] = [row(Chars(without(_PLAIN, [(ord(first), ord(first)) for first in firsts])), anything)]
        parts += [
            row(first, self._other_than([name[1:] for name in names if name.startswith(first)])) for first in firsts
        ]
        rest = choice(parts)
        return rest if "" in names else optional(rest)


def _whole(most: int = _DIGITS) -> Node:
    return Choice(("0", row(Chars(((ord("1"), ord("9")),)), Repeat(_DIGIT, 0, most - 1))))


def _fraction(most: int) -> Node:
    return row(".", Repeat(_DIGIT, 1, most))
