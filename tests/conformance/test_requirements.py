"""The data: every requirement is complete, checked and proved."""

import re

import pytest

from specserve.conformance import checks, exchanges, families, mutants, oracle, requirements, target
from specserve.conformance.exchanges.render import NotRendered, render
from specserve.conformance.mutants import gate

ALL = requirements.load()


def test_there_are_at_least_110_requirements_and_60_mutants():
    assert len(ALL) >= 110
    assert len(mutants.load()) >= 60


@pytest.mark.parametrize("requirement", ALL.values(), ids=ALL)
def test_a_requirement_is_complete(requirement):
    assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)+", requirement.id)
    assert requirement.text.endswith(".")
    assert requirement.determinism in {"protocol", "forced", "sampled"}
    ways = [requirement.rule, requirement.schema, checks.load().get(requirement.id)]
    assert sum(way is not None for way in ways) == 1 or requirement.id == "sdk.types"
    if requirement.pointer.startswith("#"):
        requirements.find(requirement.pointer)
    else:
        assert re.match(r"https://(www\.rfc-editor\.org|html\.spec\.whatwg\.org)/", requirement.pointer)


@pytest.mark.parametrize("requirement", ALL.values(), ids=ALL)
def test_each_requirement_has_a_mutant_that_it_must_find_out(requirement):
    assert requirement.mutants
    assert set(requirement.mutants) <= mutants.load().keys()


def test_every_check_belongs_to_a_requirement_and_every_mutant_is_named():
    assert checks.load().keys() <= ALL.keys()
    assert mutants.load().keys() == {name for requirement in ALL.values() for name in requirement.mutants}


def test_the_core_profile_sends_at_most_30_billable_requests():
    needed = {name for r in ALL.values() if r.profile == "core" for name in r.uses}
    assert sum(exchanges.load()[name].billable for name in needed) <= 30


def test_every_exchange_is_needed_and_is_what_it_says():
    everything = gate.everything("http://127.0.0.1:1/v1", "key", "model")
    needed = {name for r in ALL.values() for name in r.uses}
    for name, exchange in exchanges.load().items():
        assert name in needed, name
        if exchange.operation is None or exchange.body is None:
            continue
        try:
            body = render(exchange, everything, {}).json
        except NotRendered:
            continue
        assert bool(oracle.request_problems(exchange.operation, body)) is not exchange.valid, name


def test_all_profiles_leave_out_those_that_must_be_named_unless_they_are():
    told = {"base_url": "http://127.0.0.1:1/v1"}
    left_out = set(families.profiles()) - set(families.profiles(by_name=False))
    assert left_out == {"limits", "extensions"}
    assert not left_out & set(target.make({**told, "profiles": ["all"]}).profiles)
    assert set(target.make({**told, "profiles": ["all", *left_out]}).profiles) == set(families.profiles())
