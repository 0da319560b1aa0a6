"""What can be told of a grammar without an engine: whether it can end, what it costs, what it allows at the least."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.grammar import Chars, Choice, Free, Grammar, Node, Ref, Repeat, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LONGEST = 100_000
_MANY = 20
_MOST_TRIES = 50_000


def shortest(grammar: Grammar) -> str | None:
    """A shortest text that the grammar allows, the same each time; None if it allows none of bearable length."""
    sizes = _sizes(grammar.rules)
    if "root" not in sizes:
        return None
    written: list[str] = []
    waiting: list[Node] = [Ref("root")]
    while waiting:
        node = waiting.pop()
        if not _size(node, sizes):
            continue
        match node:
            case str():
                written.append(node)
            case Chars(ranges):
                written.append(chr(ranges[0][0]))
            case Ref(name):
                waiting.append(grammar.rules[name])
            case Row(parts):
                waiting += reversed(parts)
            case Choice(parts):
                possible = [(size, at) for at, part in enumerate(parts) if (size := _size(part, sizes)) is not None]
                waiting.append(parts[min(possible)[1]])
            case Repeat(part, least, _):
                waiting += [part] * least
    return "".join(written)


def can_end(grammar: Grammar) -> bool:
    """Whether each rule has a text of bearable length: then an engine never runs into a dead end."""
    return _sizes(grammar.rules).keys() == grammar.rules.keys()


def begins_itself(grammar: Grammar) -> bool:
    """Whether a rule can begin with itself, which some engines do not end to read."""
    sizes = _sizes(grammar.rules)
    first = {name: set(_first_refs(node, sizes)) for name, node in grammar.rules.items()}
    # Rules that begin with no rule that is left are taken away, again and again: what stays begins in a circle.
    begun_by: dict[str, list[str]] = defaultdict(list)
    for name, refs in first.items():
        for ref in refs:
            begun_by[ref].append(name)
    waiting = [name for name, refs in first.items() if not refs]
    left = len(first)
    while waiting:
        left -= 1
        gone = waiting.pop()
        for name in begun_by[gone]:
            first[name].discard(gone)
            if not first[name]:
                waiting.append(name)
    return left > 0


def width(nodes: Iterable[Node], rules: Mapping[str, Node]) -> int:
    """How many places expressions have where most characters fit: what takes engines time to compile.

    Args:
        nodes: The expressions.
        rules: What their names stand for.
    """
    return sum(_width(node, rules) for node in nodes if not _one_of_many(node))


def allows(grammar: Grammar, text: str) -> bool:
    """Whether the grammar allows a short text; false, too, where that takes long to tell."""
    try:
        return len(text) in _Reader(grammar.rules, text).ends(Ref("root"), 0)
    except (_TooLongError, RecursionError):
        return False


def _sizes(rules: Mapping[str, Node]) -> dict[str, int]:
    """The length of a shortest text of each rule that has one: what is found for one gives more for those with it."""
    users: dict[str, set[str]] = defaultdict(set)
    for name, node in rules.items():
        for ref in _refs(node):
            users[ref].add(name)
    sizes: dict[str, int] = {}
    waiting = dict.fromkeys(reversed(list(rules)))  # inner rules tend to come later
    while waiting:
        name = next(iter(waiting))
        del waiting[name]
        size = _size(rules[name], sizes)
        if size is not None and (name not in sizes or size < sizes[name]):
            sizes[name] = size
            waiting.update(dict.fromkeys(users[name]))
    return sizes


def _size(node: Node, sizes: Mapping[str, int]) -> int | None:
    match node:
        case str():
            return len(node)
        case Chars(ranges):
            return 1 if ranges else None
        case Ref(name):
            return sizes.get(name)
        case Row(parts):
            total = 0
            for part in parts:
                size = _size(part, sizes)
                if size is None:
                    return None
                total += size
            return total if total <= _LONGEST else None
        case Choice(parts):
            return min((size for part in parts if (size := _size(part, sizes)) is not None), default=None)
        case Repeat(part, least, _):
            size = _size(part, sizes) if least else 0
            return None if size is None or size * least > _LONGEST else size * least
        case Free():
            return 0


def _refs(node: Node) -> Iterator[str]:
    match node:
        case Ref(name):
            yield name
        case Row(parts) | Choice(parts):
            for part in parts:
                yield from _refs(part)
        case Repeat(part, _, _):
            yield from _refs(part)


def _first_refs(node: Node, sizes: Mapping[str, int]) -> Iterator[str]:
    """The rules that an expression can begin with."""
    match node:
        case Ref(name):
            yield name
        case Row(parts):
            for part in parts:
                yield from _first_refs(part, sizes)
                if _size(part, sizes) != 0:
                    return
        case Choice(parts):
            for part in parts:
                yield from _first_refs(part, sizes)
        case Repeat(part, _, _):
            yield from _first_refs(part, sizes)


def _one_of_many(node: Node) -> bool:
    match node:
        case Chars(ranges):
            return sum(high - low + 1 for low, high in ranges) > _MANY
        case Choice(parts):
            return any(map(_one_of_many, parts))
    return False


def _width(node: Node, rules: Mapping[str, Node]) -> int:
    if _one_of_many(node):
        return 1
    match node:
        case Ref(name):
            return int(_one_of_many(rules[name]))
        case Row(parts) | Choice(parts):
            return sum(_width(part, rules) for part in parts)
        case Repeat(part, least, most):
            return _width(part, rules) * max(1, least, most or 0)
    return 0


class _TooLongError(Exception):
    """There are too many ways to read the text."""


class _Reader:
    """Finds where an expression can end that begins at some place of a text."""

    def __init__(self, rules: Mapping[str, Node], text: str) -> None:
        self._rules = rules
        self._text = text
        self._known: dict[tuple[int, int], frozenset[int]] = {}
        self._tries = 0

    def ends(self, node: Node, at: int) -> frozenset[int]:
        match node:
            case str():
                return frozenset({at + len(node)} if self._text.startswith(node, at) else ())
            case Chars(ranges):
                code = ord(self._text[at]) if at < len(self._text) else -1
                return frozenset({at + 1} if any(low <= code <= high for low, high in ranges) else ())
            case Ref(name):
                return self.ends(self._rules[name], at)
            case Free():
                return frozenset(range(at, len(self._text) + 1))
        key = id(node), at
        if key not in self._known:
            self._tries += 1
            if self._tries > _MOST_TRIES:
                raise _TooLongError
            self._known[key] = self._ends(node, at)
        return self._known[key]

    def _ends(self, node: Row | Choice | Repeat, at: int) -> frozenset[int]:
        match node:
            case Row(parts):
                places = frozenset({at})
                for part in parts:
                    places = frozenset(end for place in places for end in self.ends(part, place))
                return places
            case Choice(parts):
                return frozenset(end for part in parts for end in self.ends(part, at))
            case Repeat(part, least, most):
                return self._repeated(part, least, most, at)

    def _repeated(self, part: Node, least: int, most: int | None, at: int) -> frozenset[int]:
        places = frozenset({at})
        for _ in range(least):
            places = frozenset(end for place in places for end in self.ends(part, place))
        reached = new = places
        rounds = 0
        while new and (most is None or rounds < most - least):
            new = frozenset(end for place in new for end in self.ends(part, place)) - reached
            reached |= new
            rounds += 1
        return reached
