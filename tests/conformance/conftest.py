"""A golden server with a key, and the proxy in front of it, for the tests of the kit."""

import pytest
from servers import running

from specserve.conformance.mutants import gate
from specserve.conformance.mutants.proxy import Proxy, serving

KEY = "key-for-the-golden-server"


@pytest.fixture(scope="session")
def golden_server():
    with running("--model", "echo", "--api-key", KEY) as server:
        yield server


@pytest.fixture(scope="session")
def golden_target(golden_server):
    return gate.everything(f"{golden_server.url}/v1", KEY, "echo")


@pytest.fixture(scope="session")
def proxy(golden_target):
    proxy = Proxy(golden_target)
    with serving(proxy):
        yield proxy


@pytest.fixture(scope="session")
def golden_run(proxy):
    return gate.golden(proxy)
