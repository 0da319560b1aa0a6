"""A cloud that was set up for these tests, and our server in front of it."""

import pytest
from servers import running
from watsonx_cloud import CHAT, EMBED, LANGUAGE, VISION, running_cloud


@pytest.fixture(scope="package")
def cloud():
    with running_cloud() as cloud:
        yield cloud
    assert cloud.working == 0, "requests were left at the cloud"


@pytest.fixture(scope="package")
def server(cloud, tmp_path_factory):
    config = tmp_path_factory.mktemp("watsonx") / "specserve.toml"
    tables = [f'[[models]]\nbackend = "watsonx"\nsource = "{name}"\n' for name in (CHAT, VISION, LANGUAGE, EMBED)]
    ours = f"""
        [[models]]
        id = "ours"
        backend = "watsonx"
        source = "{CHAT}"
        owned_by = "us"
        [models.options]
        url = "{cloud.url}"
        iam_url = "{cloud.url}"
        space_id = "{cloud.project_id}"
        api_key_env = "OUR_KEY"
    """
    config.write_text("\n".join([*tables, ours]))
    environ = cloud.environ() | {"OUR_KEY": cloud.api_key}
    before = len(cloud.renewals)
    with running("--config", str(config), "--validate-responses", "--log-level", "debug", environ=environ) as server:
        assert len(cloud.renewals) == before + 1, "models with one key share its token"
        yield server
        secrets = [cloud.first_key, *cloud.tokens]
    assert not [secret for secret in secrets if any(secret in line for line in server.output)]


@pytest.fixture(scope="package")
def http(server):
    with server.client() as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_left(request):
    """A fault that was planned and did not come would meet the next test."""
    yield
    if "cloud" in request.fixturenames:
        cloud = request.getfixturevalue("cloud")
        assert not cloud.faults
        assert not cloud.iam_faults
