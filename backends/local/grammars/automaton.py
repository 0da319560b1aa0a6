"""Regular expressions -> deterministic automata, by derivatives; and those -> grammars.

What is left of an expression once a character is taken is an expression again: its derivative. Each that can be reached
is a state. So conjunction and negation come for free, with which look-ahead, several patterns and limits of length are
one automaton. An engine that holds to it is in one state at a time, however many ways there are to read a text.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.grammar import Node, Ref, Rules, choice, merged, row
from specserve.backends.local.grammars.json_text import character
from specserve.backends.local.grammars.languages import Language, Languages
from specserve.backends.local.grammars.regex_tree import ALL, Ranges, TooComplexPatternError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STATES = 600
_TO_MINIMISE = 400


class Automaton:
    """A deterministic automaton; state 0 is where it begins.

    Attributes:
        moves: For each state, where each class of characters leads.
        ends: States where the text may end.
    """

    def __init__(self, moves: list[dict[int, Ranges]], ends: set[int]) -> None:
        self.moves = moves
        self.ends = ends

    def node(self, rules: Rules) -> Node | None:
        """What it allows between the quotes of a JSON string; None if that is nothing."""
        spelled: list[dict[int, Node]] = [
            {to: node for to, ranges in moves.items() if (node := character(ranges)) is not None}
            for moves in self.moves
        ]
        alive = self._alive(spelled)
        if 0 not in alive:
            return None
        led_to: dict[int, int] = defaultdict(int)
        for state in alive:
            for to in spelled[state]:
                led_to[to] += 1
        # A state with one way in and one way out is a part of the row that leads through it.
        chained = {
            state
            for state in alive - self.ends - {0}
            if led_to[state] == 1 and sum(to in alive for to in spelled[state]) == 1
        }
        refs = {state: rules.new("state") for state in sorted(alive - chained)}
        for state, ref in refs.items():
            parts = [self._way(spelled, refs, to, node) for to, node in spelled[state].items() if to in alive]
            rules.set(ref, choice([*parts, *([""] if state in self.ends else [])]))
        return refs[0]

    def _way(self, spelled: Sequence[dict[int, Node]], refs: dict[int, Ref], state: int, taken: Node) -> Node:
        """A character, what must follow it, and the next state to choose in."""
        parts = [taken]
        while state not in refs:
            [(state, node)] = [(to, node) for to, node in spelled[state].items() if to in self._kept]
            parts.append(node)
        if not spelled[state]:
            return row(*parts)  # nothing can follow
        return row(*parts, refs[state])

    def _alive(self, spelled: Sequence[dict[int, Node]]) -> set[int]:
        """States from which the text can be ended."""
        sources: dict[int, list[int]] = defaultdict(list)
        for state, moves in enumerate(spelled):
            for to in moves:
                sources[to].append(state)
        alive, waiting = set(self.ends), list(self.ends)
        while waiting:
            for source in sources[waiting.pop()]:
                if source not in alive:
                    alive.add(source)
                    waiting.append(source)
        reached, waiting = {0}, [0]
        while waiting:
            for to in spelled[waiting.pop()]:
                if to not in reached:
                    reached.add(to)
                    waiting.append(to)
        self._kept = alive & reached
        return set(self._kept)


def automaton(language: Language, languages: Languages, most_states: int = MOST_STATES) -> Automaton:
    """The automaton of a language.

    Raises:
        TooComplexPatternError: It has too many states, or takes too much work to find.
    """
    classes = _classes(languages.ranges)
    states = {language: 0}
    waiting = [language]
    moves: list[dict[int, Ranges]] = []
    while waiting:
        state = waiting.pop(0)
        found: dict[int, list[tuple[int, int]]] = {}
        for ranges in classes:
            following = languages.after(state, ranges[0][0])
            if following is languages.nothing:
                continue
            if following not in states:
                if len(states) >= most_states:
                    raise TooComplexPatternError("too many states")
                states[following] = len(states)
                waiting.append(following)
            found.setdefault(states[following], []).extend(ranges)
        moves.append({to: merged(ranges) for to, ranges in found.items()})
    ends = {at for state, at in states.items() if languages.empty(state)}
    return _smaller(Automaton(moves, ends))


def _classes(sets: set[Ranges]) -> list[Ranges]:
    """Characters by which sets they are in: those of one class lead to the same place everywhere."""
    cuts = sorted({0} | {edge for ranges in sets for low, high in ranges for edge in (low, high + 1)} - {ALL[0][1] + 1})
    by_sets: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
    ordered = sorted(sets)
    if len(cuts) * len(ordered) > 200_000:
        raise TooComplexPatternError("too many classes of characters")
    for low, following in zip(cuts, [*cuts[1:], ALL[0][1] + 1], strict=True):
        within = tuple(any(first <= low <= last for first, last in ranges) for ranges in ordered)
        by_sets.setdefault(within, []).append((low, following - 1))
    # What JSON cannot spell is in no text.
    classes = [merged(ranges) for ranges in by_sets.values()]
    return [ranges for ranges in classes if character(ranges) is not None]


def _smaller(made: Automaton) -> Automaton:
    """The same with states that mean the same made one."""
    if len(made.moves) > _TO_MINIMISE:
        return made
    group = [int(state in made.ends) for state in range(len(made.moves))]
    count = len(set(group))
    while True:
        seen: dict[tuple[object, ...], int] = {}
        regrouped = []
        for state, moves in enumerate(made.moves):
            joined: dict[int, list[tuple[int, int]]] = {}
            for to, ranges in moves.items():
                joined.setdefault(group[to], []).extend(ranges)
            key = (group[state], *sorted((to, merged(ranges)) for to, ranges in joined.items()))
            regrouped.append(seen.setdefault(key, len(seen)))
        group = regrouped
        if len(seen) == count:
            break
        count = len(seen)
    moves_of: list[dict[int, Ranges]] = [{} for _ in range(count)]
    done = set()
    for state, moves in enumerate(made.moves):
        if group[state] in done:
            continue
        done.add(group[state])
        together: dict[int, list[tuple[int, int]]] = {}
        for to, ranges in moves.items():
            together.setdefault(group[to], []).extend(ranges)
        moves_of[group[state]] = {to: merged(ranges) for to, ranges in together.items()}
    return Automaton(moves_of, {group[state] for state in made.ends})
