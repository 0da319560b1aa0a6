"""Reads regular expressions, as JSON Schema's `pattern` has them, into trees.

Groups only group; lazy counts match the same strings as greedy ones. Anchors and look-ahead may stand anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from specserve.backends.local.grammars.grammar import HIGHEST, merged, without
from specserve.backends.local.grammars.unicode_sets import property_ranges

Ranges = tuple[tuple[int, int], ...]

_LONGEST = 4000
_DEEPEST = 20
MOST_TIMES = 4096
_SPECIAL = frozenset("^$\\.*+?()[]{}|")


class UnsupportedPatternError(ValueError):
    """The expression is broken, or has something that a grammar cannot say; the message goes on with `it has`."""


class TooComplexPatternError(UnsupportedPatternError):
    """The expression is one that a grammar can say, but too many states would be needed."""


@dataclass(frozen=True, slots=True)
class Set:
    """One character of these inclusive ranges, sorted, none touching another."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Seq:
    """All of these, in this order; the empty text if there are none."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of these."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """The same several times; no upper bound if `most` is None."""

    part: Tree
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """Takes nothing, but what follows must, or must not, begin with this."""

    part: Tree
    wanted: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """Takes nothing, but this must be the end of the text, or its beginning."""

    end: bool


Tree = Set | Seq | Either | Times | Look | Edge

NOTHING = Seq(())


def _of(*pairs: str) -> Ranges:
    return merged((ord(pair[0]), ord(pair[-1])) for pair in pairs)


ALL: Ranges = ((0, HIGHEST),)
_ASCII: Ranges = ((0, 127),)
_CLASSES = {"d": _of("09"), "w": _of("09", "AZ", "az", "_"), "s": _of(" ", "\t\r")}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_DOT = without(ALL, _of("\n", "\r", "\u2028\u2029"))


def read_regex(source: str) -> Tree:
    """The tree of an expression, which may match anywhere in a text.

    Raises:
        UnsupportedPatternError: It is broken, too long, or has a back reference, look-behind, a word boundary, flags or
            a Unicode property that is not known here.
    """
    if len(source) > _LONGEST:
        raise UnsupportedPatternError(f"more than {_LONGEST} characters")
    return _Parser(source).whole()


def times(part: Tree, least: int, most: int | None) -> Tree:
    """`part` several times; counts of counts become one count where that is the same."""
    if most == 0 or part == NOTHING:
        return NOTHING
    if (least, most) == (1, 1):
        return part
    if isinstance(part, Times) and part.least <= 1 and part.most != 0:
        longest = None if most is None or part.most is None else part.most * most
        return Times(part.part, part.least * least, longest)
    return Times(part, least, most)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def whole(self) -> Tree:
        """The whole expression."""
        tree = self._alternatives(0)
        if self._at < len(self._source):
            raise UnsupportedPatternError("a bracket that nothing opens")
        return tree

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

    def _alternatives(self, depth: int) -> Tree:
        if depth > _DEEPEST:
            raise UnsupportedPatternError("brackets that are nested too deeply")
        found = [self._sequence(depth)]
        while self._skip("|"):
            found.append(self._sequence(depth))
        return found[0] if len(found) == 1 else Either(tuple(dict.fromkeys(found)))

    def _sequence(self, depth: int) -> Tree:
        parts: list[Tree] = []
        while self._next() not in {"", "|", ")"}:
            part = self._repeated(self._atom(depth))
            parts += part.parts if isinstance(part, Seq) else [part]
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def _atom(self, depth: int) -> Tree:
        taken = self._take()
        if taken in "^$":
            return Edge(taken == "$")
        if taken == "(":
            return self._group(depth)
        if taken == "[":
            return Set(self._class())
        if taken == ".":
            return Set(_DOT)
        if taken == "\\":
            return Set(self._escape())
        if taken in _SPECIAL and taken not in "]{}":
            raise UnsupportedPatternError("a count of nothing")
        return Set(_of(taken))

    def _group(self, depth: int) -> Tree:
        look = None
        if self._skip("?"):
            if self._skip("="):
                look = True
            elif self._skip("!"):
                look = False
            elif not self._skip(":"):
                self._skip_name()
        inner = self._alternatives(depth + 1)
        if not self._skip(")"):
            raise UnsupportedPatternError("a bracket that is not closed")
        return inner if look is None else Look(inner, look)

    def _skip_name(self) -> None:
        """The name of a group, `<name>` or Python's `P<name>`; nothing else may follow the question mark."""
        rest = self._source[self._at : self._at + 2]
        if rest in {"<=", "<!"}:
            raise UnsupportedPatternError("look-behind")
        if rest == "P=":
            raise UnsupportedPatternError("a back reference")
        if not (self._skip("P<") or self._skip("<")):
            raise UnsupportedPatternError("flags, or a kind of group that is not known")
        while self._take() != ">":
            pass

    def _repeated(self, part: Tree) -> Tree:
        counts = self._counts()
        if counts is None:
            return part
        self._skip("?")  # lazy or not, the same strings match
        if self._next() in {"*", "+", "?"} or self._counts() is not None:
            raise UnsupportedPatternError("a count of a count")
        if isinstance(part, Look | Edge):
            raise UnsupportedPatternError("a count of an anchor or of look-ahead")
        least, most = counts
        if most is not None and most < least:
            raise UnsupportedPatternError("a count whose end is before its begin")
        return times(part, least, most)

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
        if len(first) > 6 or len(last) > 6 or max(int(first), int(last or 0)) > MOST_TIMES:
            raise TooComplexPatternError("a count that is too large")
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
        written = self._source[begin : self._at]
        inverted = any(f"\\{letter.upper()}" in written for letter in _CLASSES)
        shorthand = inverted or any(f"\\{letter}" in written for letter in _CLASSES)
        if inverted and merged(ranges) == _ASCII:
            return () if negated else ALL  # [\s\S] and the like: whatever a space is, this is everything
        return without(_ASCII if shorthand else ALL, ranges) if negated else merged(ranges)

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
            return self._code_point(letter)
        if letter in "pP":
            ranges = self._property()
            return ranges if letter == "p" else without(ALL, ranges)
        if letter in "bB":
            raise UnsupportedPatternError("a word boundary")
        if letter.isdigit() or letter == "k":
            raise UnsupportedPatternError("a back reference")
        if letter.isalnum():
            raise UnsupportedPatternError("an escape that is not known")
        return _of(letter)

    def _code_point(self, letter: str) -> Ranges:
        if letter == "u" and self._skip("{"):
            digits = self._until("}")
        else:
            digits = self._source[self._at : self._at + (2 if letter == "x" else 4)]
            self._at += len(digits)
        try:
            return _of(chr(int(digits, 16)))
        except (ValueError, OverflowError) as error:
            raise UnsupportedPatternError("an escape that is none") from error

    def _property(self) -> Ranges:
        name = self._until("}") if self._skip("{") else ""
        ranges = property_ranges(name)
        if ranges is None:
            raise UnsupportedPatternError("a Unicode property that is not known")
        return ranges

    def _until(self, closing: str) -> str:
        end = self._source.find(closing, self._at)
        if end < 0:
            _broken()
        text, self._at = self._source[self._at : end], end + 1
        return text


def _broken() -> NoReturn:
    raise UnsupportedPatternError("an end too early")


def _size(ranges: Ranges) -> int:
    return sum(high - low + 1 for low, high in ranges)
