"""How many values a body holds is counted before they are made, in slices, and strings do not count."""

import json
import random

import pytest

from specserve.http import json_body
from specserve.http.json_body import MOST_VALUES, parse_json
from specserve.spec.errors import InvalidRequest, RequestTooLarge


def made_up(dice, depth=0):
    kind = dice.random()
    if depth > 4 or kind < 0.5:
        return "".join(dice.choice('ab\\",[{}]:') for _ in range(dice.randint(0, 12)))
    if kind < 0.75:
        return [made_up(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    return {f'{made_up(dice, 9)}"{number}': made_up(dice, depth + 1) for number in range(dice.randint(0, 4))}


def counted(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(0, len(value) - 1) + sum(map(counted, inner))


def test_values_are_counted_right_wherever_a_slice_ends(monkeypatch):
    monkeypatch.setattr(json_body, "_CHUNK", 7)
    dice = random.Random(20261127)
    for _ in range(3000):
        value = made_up(dice)
        assert json_body._count_values(json.dumps(value).encode()) == counted(value)


def test_a_text_may_hold_more_commas_and_brackets_than_values_are_allowed():
    text = '[{,"\\' * MOST_VALUES
    assert parse_json(json.dumps({"a": text}).encode()) == {"a": text}


def test_as_many_values_as_allowed_are_read_and_one_more_is_not():
    assert len(parse_json(b"[" + b"1," * (MOST_VALUES - 1) + b"1]")) == MOST_VALUES
    with pytest.raises(RequestTooLarge):
        parse_json(b"[" + b"1," * MOST_VALUES + b"1]")


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_128_levels_are_read_and_one_more_is_not(opened, closed):
    parse_json(opened * 128 + (b"1" if opened != b"[" else b"") + closed * 128)
    for levels in (129, 1000, 5000):
        with pytest.raises(InvalidRequest, match="128 levels"):
            parse_json(opened * levels + b"1" + closed * levels)
