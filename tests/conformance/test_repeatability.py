"""The same server gives the same results, run after run."""

from specserve.conformance.runner import Runner
from specserve.conformance.target import Target


def test_20_runs_give_identical_results(golden_server):
    key = "key-for-the-golden-server"
    target = Target(f"{golden_server.url}/v1", api_key=key, profiles=("core", "logprobs", "completions", "embeddings"))
    runs = [
        [
            (o.requirement.id, o.status, o.sdk_status, o.reason, o.judged, o.findings)
            for o in Runner(target).run().outcomes
        ]
        for _ in range(20)
    ]
    assert all(run == runs[0] for run in runs)
