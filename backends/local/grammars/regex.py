"""Regular expressions, as JSON Schema's `pattern` has them, as grammars of what stands between a string's quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.grammar import HIGHEST, Node, choice, merged, row, without
from specserve.backends.local.grammars.json_text import character

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.local.grammars.grammar import Rules

Ranges = tuple[tuple[int, int], ...]

_LONGEST = 1000
_DEEPEST = 20
_MOST_TIMES = 4096
_SPECIAL = frozenset("^$\\.*+?()[]{}|")


def _of(*pairs: str) -> Ranges:
    return merged((ord(pair[0]), ord(pair[-1])) for pair in pairs)


_ALL: Ranges = ((0, HIGHEST),)
_ASCII: Ranges = ((0, 127),)
_CLASSES = {"d": _of("09"), "w": _of("09", "AZ", "az", "_"), "s": _of(" ", "\t\r")}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_DOT = without(_ALL, _of("\n", "\r", "\u2028\u2029"))


class UnsupportedPatternError(ValueError):
    """The expression is broken, or has something that a grammar cannot say."""


@dataclass(frozen=True)
class Pattern:
    """What an expression allows, anywhere in a string unless it is anchored.

    Attributes:
        node: The grammar.
        least: Fewest characters.
        most: Most characters, or None.
        single: The class and the counts, if it is one class repeated and nothing beside.
    """

    node: Node
    least: int
    most: int | None
    single: tuple[Node, int, int | None] | None = None


def read_pattern(source: str, rules: Rules) -> Pattern:
    """Read an expression.

    Raises:
        UnsupportedPatternError: Look-around, back references, word boundaries, Unicode properties, flags, anchors
            inside, or no expression at all.
    """
    if len(source) > _LONGEST:
        raise UnsupportedPatternError("too many characters")
    return _Parser(source, rules).whole()


class _Parser:
    def __init__(self, source: str, rules: Rules) -> None:
        self._source = source
        self._at = 0
        self._rules = rules

    def whole(self) -> Pattern:
        """All alternatives, each with its own anchors."""
        anything = Pattern(self._rules.counted(_spelled(_ALL), 0, None), 0, None)
        found = []
        while True:
            begins = self._skip("^")
            middle = self._sequence(0)
            ends = self._skip("$")
            if begins and ends:
                found.append(middle)
            else:
                found.append(_joined([*([] if begins else [anything]), middle, *([] if ends else [anything])]))
            if not self._skip("|"):
                break
        if self._at < len(self._source):
            raise UnsupportedPatternError("a bracket that nothing opens, or an anchor inside")
        return found[0] if len(found) == 1 else _either(found)

    def _next(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._source):
            raise UnsupportedPatternError("an end too early")
        self._at += 1
        return self._source[self._at - 1]

    def _skip(self, text: str) -> bool:
        if self._source.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _alternatives(self, depth: int) -> Pattern:
        if depth > _DEEPEST:
            raise UnsupportedPatternError("brackets that are nested too deeply")
        found = [self._sequence(depth)]
        while self._skip("|"):
            found.append(self._sequence(depth))
        return found[0] if len(found) == 1 else _either(found)

    def _sequence(self, depth: int) -> Pattern:
        parts = []
        while self._next() not in {"", "|", ")", "$"}:
            parts.append(self._repeated(self._atom(depth)))
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _atom(self, depth: int) -> Pattern:
        taken = self._take()
        if taken == "(":
            return self._group(depth)
        if taken == "[":
            return _one(self._class())
        if taken == ".":
            return _one(_DOT)
        if taken == "\\":
            return _one(self._escape())
        if taken in _SPECIAL and taken not in "]}":
            raise UnsupportedPatternError("an anchor inside, or a count of nothing")
        return _one(_of(taken))

    def _group(self, depth: int) -> Pattern:
        if self._skip("?") and not self._skip(":"):
            if not self._skip("<") or self._next() in {"=", "!"}:
                raise UnsupportedPatternError("look-around")
            while self._take() != ">":
                pass
        inner = self._alternatives(depth + 1)
        if not self._skip(")"):
            raise UnsupportedPatternError("a bracket that is not closed, or an anchor inside")
        return Pattern(inner.node, inner.least, inner.most)

    def _repeated(self, part: Pattern) -> Pattern:
        counts = self._counts()
        if counts is None:
            return part
        self._skip("?")  # lazy or not, the same strings match
        if self._next() in {"*", "+", "?"} or self._counts() is not None:
            raise UnsupportedPatternError("a count of a count")
        least, most = counts
        if most is not None and most < least:
            raise UnsupportedPatternError("a count whose end is before its begin")
        if part.least * least > _MOST_TIMES:
            raise UnsupportedPatternError("a count that is too large")
        longest = 0 if most == 0 else None if most is None or part.most is None else part.most * most
        if isinstance(part.node, str) or part.single is None:
            node = self._rules.counted(part.node, least, most)
            return Pattern(node, part.least * least, longest)
        single = part.single[0]
        return Pattern(self._rules.counted(single, least, most), least, most, (single, least, most))

    def _counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._skip(sign):
                return counts
        end = self._source.find("}", self._at)
        if self._next() != "{" or end < 0:
            return None
        first, comma, last = self._source[self._at + 1 : end].partition(",")
        if not (first.isascii() and first.isdigit()) or not (last == "" or (last.isascii() and last.isdigit())):
            return None  # then it is a brace
        if len(first) > 6 or len(last) > 6 or max(int(first), int(last or 0)) > _MOST_TIMES:
            raise UnsupportedPatternError("a count that is too large")
        self._at = end + 1
        if not comma:
            return int(first), int(first)
        return int(first), int(last) if last else None

    def _class(self) -> Ranges:
        negated = self._skip("^")
        if self._next() == "]":
            raise UnsupportedPatternError("a class of nothing")
        ranges: list[tuple[int, int]] = []
        begin = self._at
        while not self._skip("]"):
            low = self._member()
            if self._next() == "-" and self._source[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._take()
                high = self._member()
                if _size(low) != 1 or _size(high) != 1 or low[0][0] > high[0][0]:
                    raise UnsupportedPatternError("a range that is none")
                ranges.append((low[0][0], high[0][0]))
            else:
                ranges += low
        # Validators do not agree on what is a letter, a digit or a space outside of ASCII.
        shorthand = any(f"\\{letter}" in self._source[begin : self._at] for letter in _CLASSES)
        return without(_ASCII if shorthand else _ALL, ranges) if negated else merged(ranges)

    def _member(self) -> Ranges:
        taken = self._take()
        if taken != "\\":
            return _of(taken)
        if self._skip("b"):
            return _of("\b")
        return self._escape()

    def _escape(self) -> Ranges:
        letter = self._take()
        if letter.lower() in _CLASSES:
            ranges = _CLASSES[letter.lower()]
            return ranges if letter.islower() else without(_ASCII, ranges)
        if letter in _CONTROLS:
            return _of(_CONTROLS[letter])
        if letter in "xu":
            digits = self._source[self._at : self._at + (2 if letter == "x" else 4)]
            self._at += len(digits)
            try:
                return _of(chr(int(digits, 16)))
            except ValueError as error:
                raise UnsupportedPatternError("an escape that is none") from error
        if letter.isalnum():
            raise UnsupportedPatternError("a back reference, a word boundary or a Unicode property")
        return _of(letter)


def _size(ranges: Ranges) -> int:
    return sum(high - low + 1 for low, high in ranges)


def _one(ranges: Ranges) -> Pattern:
    node = _spelled(ranges)
    return Pattern(node, 1, 1, (node, 1, 1))


def _spelled(ranges: Ranges) -> Node:
    node = character(ranges)
    if node is None:
        raise UnsupportedPatternError("characters that JSON cannot hold")
    return node


def _joined(parts: Sequence[Pattern]) -> Pattern:
    longest = [part.most for part in parts]
    most = None if None in longest else sum(length or 0 for length in longest)
    return Pattern(row(*(part.node for part in parts)), sum(part.least for part in parts), most)


def _either(parts: Sequence[Pattern]) -> Pattern:
    longest = [part.most for part in parts]
    most = None if None in longest else max(length or 0 for length in longest)
    return Pattern(choice([part.node for part in parts]), min(part.least for part in parts), most)


# What each format is made of: strings that surely have it, not all that have it.
_DATE = (
    r"[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_LABEL = r"[a-z](?:[a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,3}}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": r"P(?:[1-9]\d{0,2}(?:D(?:T[1-9]\d{0,2}[HMS])?|[WMY])|T[1-9]\d{0,2}(?:H(?:[1-9]\d?M)?|M|S))",
    "email": rf"[A-Za-z0-9_+-]{{1,20}}(?:\.[A-Za-z0-9_+-]{{1,20}}){{0,2}}@{_LABEL}(?:\.{_LABEL}){{1,3}}",
    "hostname": _HOST,
    "ipv4": r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}",
    "ipv6": r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "uri": rf"https?://{_HOST}(?:/[A-Za-z0-9._~-]*){{0,8}}(?:\?[A-Za-z0-9=&_-]*)?",
}
