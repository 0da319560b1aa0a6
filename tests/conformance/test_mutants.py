"""The proof: the good server is conformant, and each broken one is found out by those named, and by no other MUST."""

import pytest

from specserve.conformance import mutants
from specserve.conformance.mutants import gate
from specserve.conformance.runner import Runner
from specserve.conformance.statuses import Status
from specserve.conformance.wire import Wire


def test_the_golden_server_is_conformant(golden_run):
    assert {o.requirement.id: o.reason or o.findings for o in golden_run.outcomes if o.status is not Status.PASS} == {}
    assert (golden_run.strict, golden_run.sdk, golden_run.exit_code) == ("conformant", "conformant", 0)


@pytest.mark.filterwarnings(
    "ignore:Pydantic serializer warnings"
)  # the client's own, for an answer that breaks its types
def test_each_mutant_is_killed_by_those_named_and_by_no_other_must(proxy, golden_run):
    kills = list(gate.run_all(proxy, golden_run, mutants.load().values()))
    proxy.use(None)
    assert len(kills) >= 60
    unclean = {k.mutant.id: (sorted(k.killed_by), k.missed, k.collateral, k.errors) for k in kills if not k.clean}
    assert unclean == {}


def test_what_a_server_may_do_as_it_likes_is_not_held_against_it(proxy, golden_run):
    kills = list(gate.run_all(proxy, golden_run, mutants.variations().values()))
    proxy.use(None)
    assert kills
    assert {k.mutant.id: (k.killed_by, k.errors) for k in kills if k.killed_by or k.errors} == {}


def test_the_kit_sees_the_comments_that_it_tolerates(proxy, golden_run):
    proxy.use(mutants.variations()["keep-alive-comments"])
    wire = Wire(20)
    answer = wire.send(golden_run.answers["stream.plain"].sent)
    wire.close()
    proxy.use(None)
    assert answer.body.count(b": keep-alive\n\n") > len(answer.payloads)
    assert answer.streamed_text == golden_run.answers["stream.plain"].streamed_text


@pytest.mark.parametrize("name", ["done-missing", "usage-sum-wrong", "error-as-text"])
def test_a_whole_run_says_the_same_as_the_gate(proxy, golden_target, name):
    mutant = mutants.load()[name]
    proxy.use(mutant)
    target = gate.replace(golden_target, base_url=proxy.url)
    run = Runner(target).run()
    proxy.use(None)
    broken = {o.requirement.id for o in run.outcomes if o.status in {Status.FAIL, Status.SILENT}}
    assert broken == {
        k for k in mutant.killers if any(o.requirement.id == k and o.requirement.level == "MUST" for o in run.outcomes)
    }
    assert run.strict == "not conformant"
    assert run.exit_code == 1
