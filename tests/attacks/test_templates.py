"""Templates of a hostile model: whatever they do is refused soon, in little memory, and at the start too."""

from __future__ import annotations

import resource

import pytest

from specserve.backends.local.prompts.chat_template import ChatTemplate
from specserve.spec.errors import BackendLoadError, InvalidRequest

SHOWN = "{% for m in messages %}{{ m.content }}{% endfor %}"
GO = "{% if messages[0].content == 'go' %}"
NS = "{% set ns = namespace(x='xxxxxxxx', l=[1], n=3) %}"
TRICKS = [
    "{{ 'x'.ljust(4 * 10 ** 8) }}",
    "{{ 'x'.ljust(400000000) }}",
    "{{ 'x'.zfill(400000000) }}",
    "{{ '%400000000d' % 1 }}",
    "{{ '%*d' % (400000000, 1) }}",
    "{{ '%400000000d'|format(1) }}",
    "{{ 'x'|center(400000000) }}",
    "{{ '{:>400000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 400000000) }}",
    "{{ '\t'.expandtabs(400000000) }}",
    "{{ 'x'|indent(400000000, true) }}",
    "{{ messages|tojson(indent=400000000) }}",
    "{{ lipsum(n=1000000) }}",
    NS + "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    NS + "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = ns.x.replace('x', ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = ns.x|replace('x', ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = ns.x.join(ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x]|join(ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    NS + "{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    NS + "{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
    NS + "{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|string|length }}",
    NS + "{% for i in range(9000) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    NS + "{% set big = 'x' * 1000000 %}{% for i in range(9000) %}{% set ns.l = ns.l + [big[1:]] %}{% endfor %}",
    NS + "{% set big = 'x' * 1000000 %}{% for i in range(9000) %}{% set ns.l = ns.l + [big.upper()] %}{% endfor %}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'x' * 10000000000 }}",
    "{{ [0] * 10000000000 }}",
]  # fmt: skip
MOST_MEMORY = 700 << 20


@pytest.mark.parametrize("trick", TRICKS)
def test_a_template_has_no_operation_that_exceeds_its_budget(trick: str) -> None:
    template = ChatTemplate(f"{SHOWN}{GO}{trick}{{% endif %}}", {})
    with pytest.raises(InvalidRequest):
        template.render([{"role": "user", "content": "go"}])
    assert template.render([{"role": "user", "content": "hi"}]) == "hi"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < MOST_MEMORY


def test_a_template_that_exceeds_its_budget_at_once_stops_the_start() -> None:
    with pytest.raises(BackendLoadError):
        ChatTemplate(f"{SHOWN}{NS}{{% for i in range(60) %}}{{% set ns.x = ns.x ~ ns.x %}}{{% endfor %}}", {})


def test_what_a_long_conversation_needs_is_within_the_budget() -> None:
    source = (
        NS + "{% for m in messages %}{% set ns.x = ns.x[-8:] ~ m.content|trim %}{{ ns.x.split('x')[-1] }}{% endfor %}"
    )
    messages = [{"role": "user", "content": f"word {at} "} for at in range(20_000)]
    assert "word 19999" in ChatTemplate(source, {}).render(messages)
    long = [{"role": "user", "content": "hello world " * 500_000}]
    assert ChatTemplate(source, {}).render(long).count("hello") == 500_000
