"""Servers that many tests share."""

import pytest
from servers import running


@pytest.fixture(scope="session")
def echo_server():
    """`echo`, without pace; every answer is checked against the spec before it leaves."""
    with running("--model", "echo", "--validate-responses") as server:
        yield server


@pytest.fixture(scope="session")
def default_server():
    """What `specserve serve` serves when nothing is said: a real chat model and a real embedding model."""
    with running("--validate-responses") as server:
        yield server


@pytest.fixture(scope="session")
def relay_server(echo_server, tmp_path_factory):
    """A server whose model `relayed` is the echo of the other server."""
    config = tmp_path_factory.mktemp("relay") / "specserve.toml"
    config.write_text(
        f'[[models]]\nid = "relayed"\nbackend = "upstream"\nsource = "{echo_server.url}/v1"\n'
        'options = { model = "echo" }\n'
    )
    with running("--config", str(config), "--validate-responses") as server:
        yield server


@pytest.fixture(scope="session")
def echo(echo_server):
    with echo_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def default(default_server):
    with default_server.client() as client:
        yield client
