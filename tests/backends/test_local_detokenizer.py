from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from specserve.backends.local.tokens.detokenizer import Detokenizer


def test_a_character_arrives_whole_with_its_last_byte() -> None:
    detokenizer = Detokenizer()
    pieces = [detokenizer.push(bytes([byte])) for byte in "é漢🎉".encode()]
    assert pieces == ["", "é", "", "", "漢", "", "", "", "🎉"]
    assert not detokenizer.pending
    assert detokenizer.flush() == ""


def test_a_character_cut_off_at_the_end_becomes_one_replacement_character() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.push("ok 🎉".encode()[:-1]) == "ok "
    assert detokenizer.pending
    assert detokenizer.flush() == "\ufffd"
    assert not detokenizer.pending


def test_bytes_that_are_no_utf8_never_raise() -> None:
    assert Detokenizer().push(b"a\xffb") == "a\ufffdb"


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=8))
def test_cutting_the_bytes_changes_nothing(data: bytes, cuts: list[int]) -> None:
    detokenizer = Detokenizer()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    text = "".join(detokenizer.push(data[a:b]) for a, b in pairwise(edges))
    assert text + detokenizer.flush() == data.decode(errors="replace")
