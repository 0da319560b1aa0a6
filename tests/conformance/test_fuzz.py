"""Made-up requests: clean on a good server, one line for each operation and check on a broken one."""

from dataclasses import replace

from rich.console import Console

from specserve.conformance import fuzz, mutants
from specserve.conformance.runner import Run
from specserve.conformance.statuses import Status
from specserve.conformance.target import Limits


def fuzzed(target):
    return {o.requirement.id: o for o in fuzz.outcomes(Run(target), deep=False, console=Console(quiet=True))}


def test_a_good_server_stands_made_up_requests(golden_target):
    found = fuzzed(golden_target)
    assert len(found) == 5 * len(fuzz.CHECKS)
    assert {name: (o.reason, o.findings) for name, o in found.items() if o.status is not Status.PASS} == {}


def test_what_is_found_is_folded_by_operation_and_check(proxy, golden_target):
    proxy.use(mutants.load()["error-type-missing"])
    found = fuzzed(replace(golden_target, base_url=proxy.url, profiles=("core",)))
    proxy.use(None)
    outcome = found["fuzz.createChatCompletion.errors-come-in-the-envelope"]
    assert outcome.status is Status.FAIL
    assert "/error/type" in outcome.findings[0][1].actual
    assert found["fuzz.listModels.not-a-server-error"].status is Status.PASS


def test_a_cap_holds_for_made_up_requests(golden_target):
    run = Run(replace(golden_target, profiles=("core",), limits=Limits(requests=4, tokens=100_000)), billable=1)
    found = fuzz.outcomes(run, deep=False, console=Console(quiet=True))
    assert {o.status for o in found} == {Status.NOT_RUN}
    assert {o.reason for o in found} == {"the budget of 3 billable requests is spent"}
    assert run.billable == 4
    assert run.requests >= 3
    assert run.tokens > 0
