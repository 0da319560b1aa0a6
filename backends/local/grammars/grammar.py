"""A grammar as data: what an answer may look like. Engines that can hold to one read it as EBNF.

The parts of an expression are a text that stands for itself, `Chars`, `Ref`, `Row`, `Choice`, `Repeat`, and at the top
only `Free`. The notation is the one that xgrammar and llama.cpp share, but for `Free`, which is xgrammar's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HIGHEST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these inclusive ranges, sorted, none touching another."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """What the rule of this name allows."""

    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """All of these, in this order."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same several times; no upper bound if `most` is None."""

    part: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Free:
    """Any text, but after each of these triggers what belongs to it must follow."""

    triggers: tuple[tuple[str, Ref], ...]


Node = str | Chars | Ref | Row | Choice | Repeat | Free


@dataclass(frozen=True)
class Grammar:
    """Rules, of which ``root`` is the whole answer.

    Attributes:
        rules: Expressions by name.
    """

    rules: Mapping[str, Node]

    def ebnf(self) -> str:
        """The grammar as text."""
        return "".join(f"{name} ::= {_ebnf(node)}\n" for name, node in self.rules.items())

    @property
    def free(self) -> bool:
        """Whether any text will do until a trigger comes."""
        return isinstance(self.rules["root"], Free)


def row(*parts: Node) -> Node:
    """All of `parts`, flattened, texts that meet joined."""
    joined: list[Node] = []
    for part in parts:
        for each in part.parts if isinstance(part, Row) else (part,):
            if isinstance(each, str) and joined and isinstance(joined[-1], str):
                joined[-1] += each
            elif each != "":
                joined.append(each)
    if not joined:
        return ""
    return joined[0] if len(joined) == 1 else Row(tuple(joined))


def choice(parts: Iterable[Node]) -> Node:
    """One of `parts`, flattened, each once.

    Raises:
        ValueError: There are none.
    """
    flat: dict[Node, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Choice) else (part,)))
    if not flat:
        raise ValueError("a choice of nothing")
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def optional(part: Node) -> Node:
    """`part` or nothing."""
    return Repeat(part, 0, 1)


def chars(*ranges: str | tuple[int, int]) -> Chars:
    """A class of characters: single ones, or pairs of the first and the last."""
    return Chars(merged([(ord(each), ord(each)) if isinstance(each, str) else each for each in ranges]))


def merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges sorted, overlapping and touching ones joined."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def without(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What is in `ranges` and not in `taken`."""
    left = list(merged(ranges))
    for low, high in merged(taken):
        cut = []
        for first, last in left:
            if last < low or first > high:
                cut.append((first, last))
            else:
                cut += [pair for pair in ((first, low - 1), (high + 1, last)) if pair[0] <= pair[1]]
        left = cut
    return tuple(left)


class Rules:
    """Rules in the making."""

    def __init__(self) -> None:
        self.rules: dict[str, Node] = {"root": ""}
        self._names: dict[Node, Ref] = {}

    def new(self, hint: str) -> Ref:
        """A name that is free; `set` is to follow."""
        name = f"{hint}-{len(self.rules)}"
        self.rules[name] = ""
        return Ref(name)

    def set(self, ref: Ref, node: Node) -> Ref:
        """Say what a name stands for."""
        self.rules[ref.name] = node
        return ref

    def add(self, hint: str, node: Node) -> Ref:
        """A rule for `node`, the same for the same node."""
        if node not in self._names:
            self._names[node] = self.set(self.new(hint), node)
        return self._names[node]

    def include(self, grammar: Grammar, hint: str) -> Ref:
        """Take over all rules of another grammar, under names that are free; its root is the rule that is returned."""
        refs = {name: self.new(hint) for name in grammar.rules}
        for name, node in grammar.rules.items():
            self.set(refs[name], _renamed(node, refs))
        return refs["root"]

    def counted(self, part: Node, least: int, most: int | None) -> Node:
        """`part` several times, in such a way that engines compile large counts as fast as small ones.

        An engine finds out for each state of a rule which tokens fit, which takes milliseconds where most do. So the
        states must be few: four of a rule, four of that rule, and so on.
        """
        if most is None:
            return row(self._exactly(part, least), Repeat(part, 0, None))
        if most <= _FEW:
            return part if least == most == 1 else Repeat(part, least, most)
        return row(self._exactly(part, least), self._at_most(part, most - least))

    def _exactly(self, part: Node, count: int) -> Node:
        parts: list[Node] = []
        while count:
            size, level = self._largest(part, count)
            parts.append(Repeat(level, count // size, count // size))
            count %= size
        return row(*parts)

    def _at_most(self, part: Node, count: int) -> Node:
        if count <= _FEW:
            return Repeat(part, 0, count) if count else ""
        size, level = self._largest(part, count)
        full, rest = divmod(count + 1, size)
        below = row(Repeat(level, 0, full - 1) if full > 1 else "", self._at_most(part, size - 1))
        if not rest:
            return below
        return choice([below, row(Repeat(level, full, full), self._at_most(part, rest - 1))])

    def _largest(self, part: Node, count: int) -> tuple[int, Node]:
        """The largest power of four up to `count`, and a rule for that many."""
        size, level = 1, part
        while size * _FEW <= count:
            size, level = size * _FEW, self.add("four", Repeat(level, _FEW, _FEW))
        return size, level


def _renamed(node: Node, refs: Mapping[str, Ref]) -> Node:
    match node:
        case Ref(name):
            return refs[name]
        case Row(parts):
            return Row(tuple(_renamed(part, refs) for part in parts))
        case Choice(parts):
            return Choice(tuple(_renamed(part, refs) for part in parts))
        case Repeat(part, least, most):
            return Repeat(_renamed(part, refs), least, most)
        case Free(triggers):
            return Free(tuple((trigger, refs[ref.name]) for trigger, ref in triggers))
    return node


_FEW = 4
_BEFORE_DIGIT = re.compile(r"(\\U000000(?:[01][0-9a-f]|7f|[89a-f][0-9a-f]))(?=[0-9A-Fa-f])")
"""Between such a character and one that could be a digit of its number, xgrammar loses its way: two texts, then."""


def _ebnf(node: Node, *, inner: bool = False) -> str:
    match node:
        case str():
            text = "".join(map(_escaped, node))
            split = _BEFORE_DIGIT.sub(r'\1" "', text)
            return f'("{split}")' if inner and split != text else f'"{split}"'
        case Chars(ranges):
            return "[" + "".join(map(_range, without(ranges, [_SURROGATES]))) + "]"
        case Ref(name):
            return name
        case Row(parts):
            text = " ".join(_ebnf(part, inner=True) for part in parts)
            return f"({text})" if inner else text
        case Choice(parts):
            text = " | ".join(_ebnf(part, inner=True) for part in parts)
            return f"({text})" if inner else text
        case Repeat(part, least, most):
            text = _ebnf(part, inner=True)
            return (f"({text})" if isinstance(part, Repeat) else text) + _times(least, most)
        case Free(triggers):
            pairs = ", ".join(f"({_ebnf(trigger)}, {ref.name})" for trigger, ref in triggers)
            return f"TagDispatch({pairs})"


def _times(least: int, most: int | None) -> str:
    shorthand = {(0, 1): "?", (0, None): "*", (1, None): "+"}
    return shorthand.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _escaped(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in " !#$%&'()*+,./:;<=>?@_`{|}~"):
        return character
    return f"\\U{ord(character):08x}"


def _range(pair: tuple[int, int]) -> str:
    low, high = pair
    return f"\\U{low:08x}" if low == high else f"\\U{low:08x}-\\U{high:08x}"
