from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, ask, out

from specserve.backends.local.text.stop_strings import StopStrings


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """The first stop string to be complete, found by looking at the whole text."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return (text[: min(ends)[1]], True) if ends else (text, False)


def test_a_stop_string_over_several_pieces_never_goes_out() -> None:
    finder = StopStrings(["END"])
    assert [finder.push(piece) for piece in ("one E", "N", "D two")] == ["one ", "", ""]
    assert finder.found
    assert finder.push("three") == ""
    assert finder.flush() == ""


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    finder = StopStrings(["\n\nUser:", "</s>"])
    assert finder.push("a\nb\n") == "a\nb"
    assert finder.push("c<") == "\nc"
    assert finder.push("/") == ""
    assert finder.push("x") == "</x"


def test_what_is_held_at_the_end_is_released() -> None:
    finder = StopStrings(["END"])
    assert finder.push("the EN") == "the "
    assert finder.flush() == "EN"
    assert not finder.found


def test_the_string_that_is_complete_first_wins() -> None:
    finder = StopStrings(["bcd", "abc"])
    assert finder.push("xabcd") == "x"


def test_of_two_that_end_together_the_longer_is_cut() -> None:
    finder = StopStrings(["c", "abc"])
    assert finder.push("xab") == "x"
    assert finder.push("c") == ""


def test_without_stop_strings_text_passes() -> None:
    finder = StopStrings([])
    assert finder.push("anything") == "anything"
    assert finder.flush() == ""


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=4),
    st.lists(st.integers(0, 30), max_size=12),
)
def test_any_chunking_agrees_with_a_search_of_the_whole_text(text: str, stops: list[str], cuts: list[int]) -> None:
    finder = StopStrings(stops)
    out = ""
    for piece in pieces(text, cuts):
        seen = finder.push(piece)
        out += seen
        assert all(stop not in out for stop in stops)
    assert (out + finder.flush(), finder.found) == naive(text, stops)


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=3))
def test_no_more_is_held_than_the_longest_possible_beginning(text: str, stops: list[str]) -> None:
    finder = StopStrings(stops)
    out = "".join(finder.push(character) for character in text)
    if not finder.found:
        starts = [at for at in range(len(text) + 1) if any(stop.startswith(text[at:]) for stop in stops)]
        assert len(out) == min(starts)


def test_a_stop_string_that_begins_before_min_tokens_ends_nothing() -> None:
    text = "a STOP b STOP c"
    script = Script(lambda _: [[out(letter)] for letter in text[:-1]] + [[out(text[-1], "length")]])

    def said(min_tokens: int) -> tuple[str, str]:
        chunks = ask(script, stop=["STOP"], max_tokens=len(text), min_tokens=min_tokens)
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices), choices[-1]["finish_reason"]

    assert said(0) == ("a ", "stop")
    assert said(3) == ("a ", "stop")
    assert said(4) == ("a STOP b ", "stop")
    assert said(11) == (text, "length")
