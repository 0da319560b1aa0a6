"""Limits of a string's text -> a grammar of what stands between its quotes.

An expression that is read in one way only becomes a grammar as it stands, counts included. Any other, with look-ahead,
beside others or within limits of length, becomes an automaton first.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.automaton import MOST_STATES, automaton
from specserve.backends.local.grammars.grammar import Node, choice, merged, row
from specserve.backends.local.grammars.json_text import character
from specserve.backends.local.grammars.languages import Languages
from specserve.backends.local.grammars.regex_tree import (
    ALL,
    MOST_TIMES,
    Edge,
    Either,
    Ranges,
    Seq,
    Set,
    Times,
    TooComplexPatternError,
    Tree,
    UnsupportedPatternError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.local.grammars.grammar import Rules


def text_of(
    trees: Sequence[Tree], rules: Rules, least: int = 0, most: int | None = None, most_states: int = MOST_STATES
) -> Node | None:
    """Texts that all of these expressions match, with so many characters; None if there are none.

    Args:
        trees: The expressions, at least one.
        rules: Where rules go.
        least: Fewest characters.
        most: Most characters.
        most_states: States that an automaton may have.

    Raises:
        TooComplexPatternError: It would take too many states, or too much work.
        UnsupportedPatternError: An anchor stands where none is understood.
    """
    if len(trees) == 1:
        inner = _between_anchors(trees[0])
        if inner is not None and _read_one_way(inner, ()):
            return _with_length(inner, rules, least, most) if least or most is not None else _structured(inner, rules)
    return _by_automaton(trees, rules, least, most, most_states)


def _by_automaton(trees: Sequence[Tree], rules: Rules, least: int, most: int | None, most_states: int) -> Node | None:
    languages = Languages()
    parts = [languages.of(tree) for tree in trees]
    if least or most is not None:
        if max(least, most or 0) > most_states:
            raise TooComplexPatternError("limits of length beside it that are too large")
        parts.append(languages.times(languages.one_of(ALL), least, most))
    try:
        return automaton(languages.both(parts), languages, most_states).node(rules)
    except RecursionError as error:
        raise TooComplexPatternError("too many parts") from error


def _between_anchors(tree: Tree) -> Tree | None:
    """What stands between an anchor at the begin and one at the end; None if there are others, or look-ahead."""
    if not isinstance(tree, Seq) or len(tree.parts) < 2 or tree.parts[0] != Edge(False) or tree.parts[-1] != Edge(True):
        return None
    inner = tree.parts[1:-1]
    return (inner[0] if len(inner) == 1 else Seq(inner)) if all(map(_plain, inner)) else None


def _plain(tree: Tree) -> bool:
    match tree:
        case Set():
            return True
        case Seq(parts) | Either(parts):
            return all(map(_plain, parts))
        case Times(part, _, _):
            return _plain(part)
    return False


# --------------------------------------------------------------------------------- expressions that are read in one way


def _read_one_way(tree: Tree, follow: Ranges) -> bool:
    """Whether the next character always tells where in the expression one is; surely so if true.

    Args:
        tree: A tree without anchors and look-ahead.
        follow: Characters that may follow.
    """
    match tree:
        case Seq(parts):
            for part in reversed(parts):
                if not _read_one_way(part, follow):
                    return False
                follow = merged([*_firsts(part), *follow]) if _may_be_empty(part) else _firsts(part)
            return True
        case Either(parts):
            if sum(map(_may_be_empty, parts)) > 1:
                return False
            if any(_meet(one, other) for one, other in combinations(map(_firsts, parts), 2)):
                return False
            empty = any(map(_may_be_empty, parts))
            return not (empty and any(_meet(_firsts(part), follow) for part in parts)) and all(
                _read_one_way(part, follow) for part in parts
            )
        case Times(part, least, most):
            if _may_be_empty(part) or (least != most and _meet(_firsts(part), follow)):
                return False
            return _read_one_way(part, follow if most == 1 else merged([*_firsts(part), *follow]))
    return True


def _firsts(tree: Tree) -> Ranges:
    """Characters that it can begin with."""
    match tree:
        case Set(ranges):
            return ranges
        case Seq(parts):
            found: list[tuple[int, int]] = []
            for part in parts:
                found += _firsts(part)
                if not _may_be_empty(part):
                    break
            return merged(found)
        case Either(parts):
            return merged(pair for part in parts for pair in _firsts(part))
        case Times(part, _, _):
            return _firsts(part)
    return ()


def _may_be_empty(tree: Tree) -> bool:
    match tree:
        case Seq(parts):
            return all(map(_may_be_empty, parts))
        case Either(parts):
            return any(map(_may_be_empty, parts))
        case Times(part, least, _):
            return least == 0 or _may_be_empty(part)
    return not isinstance(tree, Set)


def _meet(first: Ranges, second: Ranges) -> bool:
    return any(low <= last and begin <= high for low, high in first for begin, last in second)


def _structured(tree: Tree, rules: Rules) -> Node:
    match tree:
        case Set(ranges):
            node = character(ranges)
            if node is None:
                raise UnsupportedPatternError("characters that JSON cannot hold")
            return node
        case Seq(parts):
            return row(*(_structured(part, rules) for part in parts))
        case Either(parts):
            return choice([_structured(part, rules) for part in parts])
        case Times(part, least, most):
            if _fewest(part) * least > MOST_TIMES:
                raise TooComplexPatternError("a count that is too large")
            return rules.counted(_structured(part, rules), least, most)
    raise UnsupportedPatternError("an anchor inside")


def _with_length(tree: Tree, rules: Rules, least: int, most: int | None) -> Node | None:
    """As `_structured`, with limits of length besides."""
    one = Times(tree, 1, 1) if isinstance(tree, Set) else tree
    if isinstance(one, Times) and isinstance(one.part, Set):
        fewest, longest = max(one.least, least), one.most if most is None else min(most, one.most or most)
        if longest is not None and longest < fewest:
            return None
        return rules.counted(_structured(one.part, rules), fewest, longest)
    longest = _longest(tree)
    if _fewest(tree) >= least and (most is None or (longest is not None and longest <= most)):
        return _structured(tree, rules)
    whole = Seq((Edge(False), tree, Edge(True)))
    return _by_automaton([whole], rules, least, most, MOST_STATES)


def _fewest(tree: Tree) -> int:
    match tree:
        case Seq(parts):
            return sum(map(_fewest, parts))
        case Either(parts):
            return min(map(_fewest, parts))
        case Times(part, least, _):
            return _fewest(part) * least
    return 1


def _longest(tree: Tree) -> int | None:
    match tree:
        case Seq(parts) | Either(parts):
            found = [_longest(part) for part in parts]
            sizes = [size for size in found if size is not None]
            if len(sizes) < len(found):
                return None
            return sum(sizes) if isinstance(tree, Seq) else max(sizes)
        case Times(part, _, most):
            longest = _longest(part)
            return None if most is None or longest is None else longest * most
    return 1
