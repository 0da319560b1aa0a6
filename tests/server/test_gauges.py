"""Gauges and the contract: each figure of `/health` has a gauge, and each gauge a place in `/health`."""

from specserve.models.gauges import GAUGES
from specserve.spec.document import load


def test_each_figure_in_the_contract_has_a_gauge_and_each_gauge_a_figure():
    properties = load()["components"]["schemas"]["HealthResponse"]["properties"]
    figures = {name for name, node in properties.items() if node.get("type") in {"integer", "number"}}
    assert figures == GAUGES.keys()


def test_every_gauge_stands_in_the_answer(echo):
    health = echo.get("/health").json()
    assert health.keys() >= GAUGES.keys()
    assert health["num_requests_running"] == 0
