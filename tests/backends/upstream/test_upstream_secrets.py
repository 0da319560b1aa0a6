"""The key that an upstream was given never reaches a client, however the upstream writes it."""

import base64
import json
from urllib.parse import quote

import pytest
from stand_in import ask, complete, embed, good, plain, reply, stream

KEY = "sk-Secret/+0123456789~abc"
USER = f"user:{KEY}"
HIDDEN = [
    KEY,
    f"Bearer {KEY}",
    quote(KEY, safe=""),
    quote(KEY, safe="").lower().replace("secret", "Secret"),
    "".join(f"%{ord(one):02x}" for one in KEY),
    base64.b64encode(KEY.encode()).decode(),
    base64.urlsafe_b64encode(KEY.encode()).decode(),
    base64.b64encode(f"a:{KEY}".encode()).decode(),
    base64.b64encode(f"ab:{KEY}:c".encode()).decode(),
    base64.b64encode(f"abc:{KEY}".encode()).decode(),
    KEY.encode().hex(),
    KEY.encode().hex().upper(),
]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("STAND_IN_KEY", KEY)


def asked(answer, **body):
    return ask(answer, options={"api_key_env": "STAND_IN_KEY"}, **body)


def holds(text):
    """Whether a text has the key, or most of one of its forms (base64 of other words shares no more than its ends)."""
    return any(form[3:-3] in text for form in HIDDEN) or "Secret" in text


def escaped(text):
    return "".join(f"\\u{ord(one):04x}" for one in text)


@pytest.mark.parametrize("form", HIDDEN)
def test_no_error_repeats_the_key(form):
    for body in (
        {"error": {"message": f"bad key '{form}'", "type": form, "param": form, "code": form}},
        {"detail": f"bad key {form}"},
        f"<html><title>bad key {form}</title></html>",
        f"bad key {form}",
    ):
        for status in (400, 401, 404, 500, 502):
            shown = asked(reply(body, status)).error.to_json().decode()
            assert not holds(shown), (status, shown)
    for begun in (False, True):
        events = [*good("x")[: 2 * begun], {"error": {"message": f"bad key {form}", "code": 400}}]
        outcome = asked(stream(*events), stream=True)
        assert outcome.error.message == "bad key ***"


@pytest.mark.parametrize("form", HIDDEN)
def test_no_answer_repeats_the_key(form):
    answer = plain({"role": "assistant", "content": f"<{form}>", "refusal": None}, headers={"authorization": form})
    for data in (json.dumps(answer), json.dumps(answer).replace(json.dumps(form)[1:-1], escaped(form))):
        outcome = asked(reply(data))
        assert outcome.json["choices"][0]["message"]["content"] == "<***>"
        assert not holds(outcome.data.decode())
        assert "key-hidden" in outcome.repairs
    events = [json.dumps({**one, "echo": form}).replace("/", "\\/") for one in good("a", f"<{form}>", "b", "c")]
    outcome = asked(stream(*(f"data: {one}\n\n".encode() for one in events)), stream=True)
    assert not holds(outcome.data.decode())
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in outcome.events) == "a<***>bc"
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "echo": form}
    assert not holds(asked(reply(vectors), operation=embed).data.decode())
    text = {**plain(), "object": "text_completion", "choices": [{"index": 0, "text": form, "finish_reason": "stop"}]}
    assert asked(reply(text), operation=complete).json["choices"][0]["text"] in {"***", "Bearer ***"}


def test_each_secret_of_each_header_is_one(monkeypatch):
    monkeypatch.setenv("STAND_IN_BASIC", "Basic " + base64.b64encode(b"somebody:something").decode())
    options = {"headers_env": {"X-Auth": "STAND_IN_BASIC"}}
    said = base64.b64encode(b"somebody:something").decode()
    assert ask(reply({"error": f"no {said}"}, 400), options=options).error.message == "no ***"


def test_a_stand_in_for_a_key_is_a_word_like_any_other_in_an_answer(monkeypatch):
    monkeypatch.setenv("STAND_IN_KEY", "EMPTY")
    content = {"role": "assistant", "content": "The list is EMPTY. 100% \\u0045", "refusal": None}
    assert asked(reply(plain(content))).json["choices"][0]["message"]["content"] == content["content"]
    assert asked(reply({"error": "EMPTY"}, 400)).error.message == "***"


def test_text_with_percent_signs_and_escapes_is_left_as_it_is():
    words = ["100 %", "é\\u00e9", "a/b", '"quoted\\"', "\u2028"]
    outcome = asked(stream(*good(*words)), stream=True)
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in outcome.events[1:-1]) == "".join(words)


def test_the_log_does_not_have_it_either(capsys):
    async def bad_head(_request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\nx\x00: y\r\n\r\n")
        await writer.drain()

    error = asked(bad_head).error
    asked(reply({"error": f"bad key {KEY}"}, 401))
    assert error.status == 502
    assert KEY not in capsys.readouterr().out
