"""Thoughts of a model, told apart from its answer, on a scripted engine."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, ask, out

from specserve.backends.local.engine import TokenOutput
from specserve.spec.errors import UnsupportedValue

BASE = "{% for m in messages %}{{ m.content }}{% endfor %}"
OPENED = BASE + "{% if '</think>' %}<think>\n{% endif %}"
SELF = BASE + "{% set mark = '</think>' %}"
SWITCH = BASE + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
EFFORT = BASE + "{{ reasoning_effort if reasoning_effort }}"


def engine(template: str, *texts: str, finish: str = "stop", **attributes: Any) -> Script:
    script = Script(lambda _: [*([out(text)] for text in texts), [TokenOutput(0, [], [], finish)]])
    script.chat_template = template
    for name, value in attributes.items():
        setattr(script, name, value)
    return script


def parts(chunks: list[dict[str, Any]]) -> tuple[str, str]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return tuple("".join(delta.get(key) or "" for delta in deltas) for key in ("reasoning_content", "content"))


def scored(chunks: list[dict[str, Any]]) -> list[tuple[str, float]]:
    found = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    return [(entry["token"], entry["logprob"]) for logprobs in found for entry in logprobs["content"]]


def reasoning_tokens(chunks: list[dict[str, Any]]) -> int:
    return chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"]


CASES = {"opened": (OPENED, ""), "opened twice": (OPENED, "<think>\n"), "by itself": (SELF, "<think>")}
WHOLE = "I wonder.\nYes < no.\n</think>\n\nParis.\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 100])
@pytest.mark.parametrize(
    ("template", "text"), [(OPENED, WHOLE), (OPENED, "<think>\n" + WHOLE), (SELF, "<think>" + WHOLE)]
)
def test_thoughts_and_answer_come_apart_however_they_are_cut(template: str, text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    chunks = ask(engine(template, *pieces))
    assert parts(chunks) == ("I wonder.\nYes < no.", "Paris.\n")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == len(text)
    assert reasoning_tokens(chunks) in range(text.index("</think>") + 8, text.index("Paris") + 1)


def test_thoughts_go_out_as_they_come_and_before_the_answer() -> None:
    chunks = ask(engine(OPENED, "one ", "two ", "three</think>", "four"))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "one"},
        {"reasoning_content": " two"},
        {"reasoning_content": " three"},
        {"content": "four"},
        {},
    ]


def test_an_answer_without_thoughts_is_an_answer() -> None:
    for text in ("Paris.", "<thin ice", "<", "\n\nParis", "Is <think> a mark? </think>"):
        chunks = ask(engine(SELF, *text))
        assert parts(chunks) == ("", text)
        assert reasoning_tokens(chunks) == 0


def test_thoughts_that_are_cut_off_leave_no_answer() -> None:
    chunks = ask(engine(OPENED, "I wonder </thi", finish="length"), max_tokens=14)
    assert parts(chunks) == ("I wonder </thi", "")
    assert (chunks[-2]["choices"][0]["finish_reason"], reasoning_tokens(chunks)) == ("length", 14)


def test_stop_strings_end_the_answer_and_not_the_thoughts() -> None:
    script = engine(OPENED, "a stop b</think>c stop d")
    assert parts(ask(script, stop="stop")) == ("a stop b", "c ")
    assert script.asked[0][1].stop == ()
    plain = engine(SWITCH + "</think>", "a")
    ask(plain, stop="stop")
    assert plain.asked[0][1].stop == ("stop",)


def test_log_probabilities_are_those_of_the_answer() -> None:
    text = "ab</think>\nxy"
    script = engine(OPENED)
    script.play = lambda _: [[out(text, "stop", logprobs=[-float(at) for at in range(len(text))])]]
    chunks = ask(script, logprobs=True)
    scored = [
        entry
        for chunk in chunks
        for choice in chunk["choices"]
        for entry in (choice["logprobs"] or {}).get("content", [])
    ]
    assert [(entry["token"], entry["logprob"]) for entry in scored] == [("x", -11.0), ("y", -12.0)]


def test_log_probabilities_of_what_was_held_back_are_not_lost() -> None:
    script = engine(SELF)
    script.play = lambda _: [[out("<", logprobs=[-1.0])], [out("b", "stop", logprobs=[-2.0])]]
    chunks = ask(script, logprobs=True)
    scored = [
        entry
        for chunk in chunks
        for choice in chunk["choices"]
        for entry in (choice["logprobs"] or {}).get("content", [])
    ]
    assert [(entry["token"], entry["logprob"]) for entry in scored] == [("<", -1.0), ("b", -2.0)]


def test_marks_may_be_control_tokens() -> None:
    script = engine(BASE + "[THINK]{# [/THINK] #}")
    script.tokenizer = type(script.tokenizer)({"[THINK]": 2, "[/THINK]": 3})
    script.play = lambda _: [[out("why")], [TokenOutput(0, [3], [])], [out("so", "stop")]]
    assert parts(ask(script)) == ("why", "so")


def test_the_switch_reaches_the_template_and_the_prompt_tells_that_thoughts_are_over() -> None:
    for effort, ends in (("none", b"</think>\n\n"), ("minimal", b"</think>\n\n"), ("high", b"hi"), (None, b"hi")):
        script = engine(SWITCH, "Paris")
        assert parts(ask(script, reasoning_effort=effort)) == ("", "Paris")
        assert bytes(script.asked[0][0]).endswith(ends)


def test_the_word_reaches_a_template_that_knows_words() -> None:
    script = engine(EFFORT, "Paris")
    ask(script, reasoning_effort="low")
    assert bytes(script.asked[0][0]) == b"hilow"


@pytest.mark.parametrize(("template", "declared"), [(OPENED, False), (SWITCH, True), (EFFORT, True), (BASE, False)])
def test_effort_is_declared_where_the_template_takes_it(template: str, declared: bool) -> None:
    chat = engine(template).capabilities().operations["createChatCompletion"]
    assert ("reasoning_effort" in chat) is declared


def test_a_model_that_always_thinks_says_so() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        ask(engine(OPENED, "a"), reasoning_effort="none")
    assert caught.value.param == "reasoning_effort"
    assert parts(ask(engine(BASE, "a"), reasoning_effort="none")) == ("", "a")


def test_thoughts_sent_back_reach_a_template_that_shows_them() -> None:
    script = engine("{% for m in messages %}{{ m.reasoning_content }}|{{ m.content }};{% endfor %}", "ok")
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "t"},
        {"role": "user", "content": "c"},
    ]
    ask(script, messages=messages)
    assert bytes(script.asked[0][0]) == b"|a;t|b;|c;"


def test_several_answers_think_each_for_themselves() -> None:
    script = engine(OPENED)
    script.play = lambda _: [
        [out("a</think>b"), out("c", index=1)],
        [out("", "stop"), out("</think>d", "stop", index=1)],
    ]
    chunks = ask(script, n=2)
    for at, texts in enumerate([("a", "b"), ("c", "d")]):
        assert parts([{"choices": [c for c in k["choices"] if c["index"] == at]} for k in chunks]) == texts
    assert reasoning_tokens(chunks) == 18
