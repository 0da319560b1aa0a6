"""What xgrammar makes of our grammars: it lets through what they allow, and nothing else."""

import json
import queue
import random

import pytest
import torch
from bound_answers import SCHEMAS
from sentences import sentence

from specserve.backends.huggingface.grammars import Grammars, Matcher
from specserve.backends.local.grammars.analysis import allows
from specserve.backends.local.grammars.grammar import Free, Grammar, Ref
from specserve.backends.local.grammars.json_schema import object_grammar, schema_grammar
from specserve.backends.local.tokens.vocabulary import described

END = 256
VOCABULARY = [bytes([byte]) for byte in range(256)] + [b"", b"<tool_call>", b'{"', b'":', b"true", "\u00e9".encode()]


class Bytes:
    """A tokenizer of bytes, an end, and a few longer tokens."""

    def __init__(self):
        self.size = len(VOCABULARY)
        self.control_tokens = {"</s>": END}

    def token_bytes(self, token_id):
        return VOCABULARY[token_id]


@pytest.fixture(scope="module")
def compiled():
    ready = queue.SimpleQueue()
    grammars = Grammars(described(Bytes()), ready.put)

    def compile_one(grammar, left=(1,)):
        text = grammar if isinstance(grammar, str) else grammar.ebnf()
        grammars.put({"grammar": text, "end_ids": [END], "left": left})
        return ready.get(timeout=60)

    return compile_one


def allowed(matcher):
    """The tokens that may come next."""
    logits = torch.zeros(len(VOCABULARY))
    matcher.forbid(logits)
    return {token for token in range(len(VOCABULARY)) if logits[token] == 0}


def taken(compiled, text):
    """The matcher behind a text, or None if that is not allowed."""
    matcher = Matcher(compiled)
    for byte in text.encode():
        if byte not in allowed(matcher):
            return None
        matcher.take(byte)
    return matcher


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_every_sentence_of_a_grammar_passes_and_may_end_there(compiled, schema):
    grammar = schema_grammar(schema, "p")
    matched = compiled(grammar)["compiled"]
    rng = random.Random(3)
    for _ in range(4):
        text = sentence(grammar, rng)[:400]
        matcher = taken(matched, text)
        assert matcher is not None, text
        if len(text) < 400:
            assert END in allowed(matcher)


def test_what_a_grammar_does_not_allow_does_not_pass(compiled):
    rng = random.Random(4)
    grammar = object_grammar()
    matched = compiled(grammar)["compiled"]
    for _ in range(60):
        text = sentence(grammar, rng)[:60]
        at = rng.randrange(len(text) + 1)
        spoiled = text[:at] + rng.choice('{}[]":,x\\ 0') + text[at:]
        matcher = taken(matched, spoiled)
        passes = matcher is not None and END in allowed(matcher)
        assert passes == allows(grammar, spoiled), spoiled


def test_any_text_passes_until_a_trigger_and_then_what_belongs_to_it(compiled):
    grammar = Grammar({"root": Free((("<tool_call>", Ref("call")),)), "call": '{"a": 1}</tool_call>'})
    matched = compiled(grammar)["compiled"]
    matcher = taken(matched, "Well < tool <tool_call")
    assert END in allowed(matcher)
    assert allowed(matcher) > set(range(32, 127))
    matcher.take(ord(">"))
    assert allowed(matcher) == {ord("{"), VOCABULARY.index(b'{"')}
    for byte in b'{"a": 1}</tool_call>':
        matcher.take(byte)
    assert END in allowed(matcher)
    assert ord("x") in allowed(matcher)


def test_a_grammar_that_is_none_fails_with_its_cause(compiled):
    assert compiled("root ::= (")["why"]


def test_a_grammar_that_nobody_waits_for_is_not_compiled(compiled):
    assert "compiled" not in compiled(object_grammar(), left=())
