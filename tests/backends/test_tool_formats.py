"""Each format of tool calls: what it reads, however it is cut, and that its own grammar writes what it reads."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import sentence

from specserve.backends.local.grammars.grammar import Grammar, Ref, Rules
from specserve.backends.local.grammars.json_schema import SchemaGrammar
from specserve.backends.local.grammars.schema_reading import Place
from specserve.backends.local.tools.formats import (
    GENERIC,
    deepseek,
    format_of,
    hermes,
    llama3_json,
    llama3_pythonic,
    mistral,
)
from specserve.backends.local.tools.formats.base import ToolFormat

NAMES = {"get_weather", "clock"}
PARIS = ("get_weather", {"city": "Paris", "note": 'a "}" {\\'})
CLOCK = ("clock", {})
PARIS_JSON = json.dumps(PARIS[1])

BAR = "\uff5c"


def spelled(text: str) -> str:
    """DeepSeek's marks, written with plain characters here."""
    return text.replace("|", BAR).replace("_", "\u2581")


CALLS, ENDS = spelled("<|tool_calls_begin|>"), spelled("<|tool_calls_end|>")
CALL, SEP, END = (spelled(f"<|tool_{part}|>") for part in ("call_begin", "sep", "call_end"))

SAMPLES: dict[str, tuple[ToolFormat, str, str, list[tuple[str, object]]]] = {
    "hermes": (
        hermes.FORMAT,
        (
            f'Let me see.\n<tool_call>\n{{"name": "get_weather", "arguments": {PARIS_JSON}}}\n</tool_call>\n'
            '<tool_call>{"name":"clock","arguments":{}}</tool_call>'
        ),
        "Let me see.",
        [PARIS, CLOCK],
    ),
    "hermes, text behind": (
        hermes.FORMAT,
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n\nThat was it.',
        "\n\nThat was it.",
        [CLOCK],
    ),
    "hermes, not offered": (
        hermes.FORMAT,
        'a <tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>',
        'a <tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>',
        [],
    ),
    "hermes, only spoken of": (hermes.FORMAT, "Write <tool_call> and <tool", "Write <tool_call> and <tool", []),
    "hermes, cut in the arguments": (
        hermes.FORMAT,
        '<tool_call>\n{"name": "clock", "arguments": {"a": [1',
        "",
        [("clock", '{"a": [1')],
    ),
    "hermes, cut in the markup": (
        hermes.FORMAT,
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_',
        "",
        [CLOCK],
    ),
    "generic": (GENERIC, '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>', "", [CLOCK]),
    "llama": (
        llama3_json.FORMAT,
        f'<|python_tag|>{{"name": "get_weather", "parameters": {PARIS_JSON}}}; {{"name": "clock", "parameters": {{}}}}',
        "",
        [PARIS, CLOCK],
    ),
    "llama, with a type": (
        llama3_json.FORMAT,
        '\n{"type": "function", "name": "clock", "parameters": {}}',
        "",
        [CLOCK],
    ),
    "llama, another object": (llama3_json.FORMAT, '{"a": {"b": 1}} and more', '{"a": {"b": 1}} and more', []),
    "llama, not at the start": (
        llama3_json.FORMAT,
        'So: {"name": "clock", "parameters": {}}',
        'So: {"name": "clock", "parameters": {}}',
        [],
    ),
    "pythonic": (
        llama3_pythonic.FORMAT,
        "[get_weather(city='Paris', note='a \"}\" {\\\\'), clock()]",
        "",
        [PARIS, CLOCK],
    ),
    "pythonic, words of JSON": (
        llama3_pythonic.FORMAT,
        "[clock(a=true, b=None, c=[1, {'d': -2.5}])]",
        "",
        [("clock", {"a": True, "b": None, "c": [1, {"d": -2.5}]})],
    ),
    "pythonic, code": (llama3_pythonic.FORMAT, "[clock(a=open('x'))]", "[clock(a=open('x'))]", []),
    "pythonic, a list": (llama3_pythonic.FORMAT, "[1, 2] is a list", "[1, 2] is a list", []),
    "mistral": (
        mistral.LISTED,
        f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {PARIS_JSON}}}, {{"name": "clock", "arguments": {{}}}}]',
        "",
        [PARIS, CLOCK],
    ),
    "mistral, with an id": (
        mistral.LISTED,
        'Yes.[TOOL_CALLS][{"name": "clock", "arguments": {}, "id": "abcdefghi"}]',
        "Yes.",
        [CLOCK],
    ),
    "mistral, names and arguments": (
        mistral.WITH_NAMES,
        f"Yes.[TOOL_CALLS]get_weather[ARGS]{PARIS_JSON}[TOOL_CALLS]clock[ARGS]{{}}",
        "Yes.",
        [PARIS, CLOCK],
    ),
    "deepseek": (
        deepseek.WITH_FENCE,
        (
            f"Yes.{CALLS}{CALL}function{SEP}get_weather\n```json\n{PARIS_JSON}\n```{END}\n"
            f"{CALL}function{SEP}clock\n```json\n{{}}\n```{END}{ENDS}"
        ),
        "Yes.",
        [PARIS, CLOCK],
    ),
    "deepseek, without a fence": (
        deepseek.PLAIN,
        f"{CALLS}{CALL}get_weather{SEP}{PARIS_JSON}{END}{CALL}clock{SEP}{{}}{END}{ENDS}",
        "",
        [PARIS, CLOCK],
    ),
}


def read(form: ToolFormat, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    reader = form.reader(NAMES)
    events = [event for piece in pieces for event in reader.push(piece)] + reader.flush()
    calls: list[tuple[str, str]] = []
    for event in events:
        if event.kind == "call":
            calls.append((event.text, ""))
        elif event.kind == "arguments":
            calls[-1] = (calls[-1][0], calls[-1][1] + event.text)
    return "".join(event.text for event in events if event.kind == "text"), calls


@pytest.mark.parametrize("sample", SAMPLES)
def test_it_reads_calls_and_leaves_the_rest_text(sample: str) -> None:
    form, answer, text, calls = SAMPLES[sample]
    found_text, found_calls = read(form, [answer])
    assert found_text == text
    assert [name for name, _ in found_calls] == [name for name, _ in calls]
    for (_, found), (_, meant) in zip(found_calls, calls, strict=True):
        assert found == meant if isinstance(meant, str) else json.loads(found) == meant


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(0, 300), max_size=30))
def test_where_an_answer_is_cut_makes_no_difference(sample: str, cuts: list[int]) -> None:
    form, answer, _, _ = SAMPLES[sample]
    places = [0, *sorted(cut % (len(answer) + 1) for cut in cuts), len(answer)]
    pieces = [answer[first:last] for first, last in itertools.pairwise(places)]
    assert read(form, pieces) == read(form, [answer])


@pytest.mark.parametrize("sample", SAMPLES)
def test_character_by_character_is_the_same(sample: str) -> None:
    form, answer, _, _ = SAMPLES[sample]
    assert read(form, list(answer)) == read(form, [answer])


FORMATS = {
    "hermes": hermes.FORMAT,
    "generic": GENERIC,
    "llama": llama3_json.FORMAT,
    "pythonic": llama3_pythonic.FORMAT,
    "mistral": mistral.LISTED,
    "mistral, names": mistral.WITH_NAMES,
    "deepseek": deepseek.WITH_FENCE,
    "deepseek, plain": deepseek.PLAIN,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("several", [False, True])
def test_what_its_grammar_writes_it_reads(name: str, several: bool) -> None:
    form = FORMATS[name].forced
    rules = Rules()
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    arguments = {each: SchemaGrammar(schema, Place("p"), rules).root() for each in sorted(NAMES)}
    rules.set(Ref("root"), form.calls(arguments, several=several))
    grammar = Grammar(rules.rules)
    rng = random.Random(0)
    most = 0
    for _ in range(40):
        text, calls = read(form, [sentence(grammar, rng)])
        assert text == ""
        assert calls
        assert all(set(json.loads(found)) == {"city"} for _, found in calls)
        most = max(most, len(calls))
    assert (most > 1) is several


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{{ tools }} <tool_call> {{ x }}", hermes.FORMAT),
        ("{{ tools }} <tool_call> <arg_key>", None),
        ("[TOOL_CALLS] [", mistral.LISTED),
        ("[TOOL_CALLS] name [ARGS]", mistral.WITH_NAMES),
        (f"{SEP} ```json", deepseek.WITH_FENCE),
        (f"{SEP} name", deepseek.PLAIN),
        ('<|eot_id|> {"name": function name, "parameters": dictionary}', llama3_json.FORMAT),
        ("[func_name1(params_name1=params_value1)]", llama3_pythonic.FORMAT),
        ("{{ messages }}", None),
    ],
)
def test_the_template_tells_the_format(template: str, form: ToolFormat | None) -> None:
    assert format_of(template) is form
