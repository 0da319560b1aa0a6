"""What a model needs to start, and what is said if it does not."""

import asyncio

import pytest
from watsonx_cloud import CHAT, EMBED, RERANK, VISION, WITHDRAWN
from watsonx_cloud.app import Fault
from watsonx_cloud.models import RETIRED
from watsonx_models import chat, model, settings

from specserve.backends.watsonx import open_model
from specserve.backends.watsonx.options import WatsonxOptions
from specserve.backends.watsonx.service_access import find_access
from specserve.spec.errors import BackendLoadError

ENVIRON = {"WATSONX_IAM_APIKEY": "k", "WATSONX_PROJECT_ID": "p", "WATSONX_REGION": "eu-de"}


def place(environ=None, **options):
    return find_access(WatsonxOptions(**options), ENVIRON | (environ or {}))


def refusal(environ=None, **options):
    with pytest.raises(BackendLoadError) as caught:
        place(environ, **options)
    return str(caught.value)


def test_the_variables_of_the_gateway_that_it_replaces_are_enough():
    found = place()
    assert found.url == "https://eu-de.ml.cloud.ibm.com"
    assert found.token_url == "https://iam.cloud.ibm.com/identity/token"
    assert found.api_key.get_secret_value() == "k"
    assert found.container == {"project_id": "p"}
    assert found.version == "2025-02-06"


def test_an_option_goes_before_its_variable():
    everything = {"WATSONX_VERSION": "2025-01-01", "WATSONX_SPACE_ID": "s", "WATSONX_URL": "https://a.example"}
    found = place(
        everything | {"OTHER": "o"},
        region="jp-tok",
        space_id="mine",
        version="2026-01-02",
        api_key_env="OTHER",
        iam_url="https://iam.example:8443/identity/token",
    )
    assert found.url == "https://jp-tok.ml.cloud.ibm.com"
    assert found.container == {"space_id": "mine"}
    assert found.version == "2026-01-02"
    assert found.api_key.get_secret_value() == "o"
    assert found.token_url == "https://iam.example:8443/identity/token"
    assert place(url="http://127.0.0.1:8/").url == "http://127.0.0.1:8"
    assert place(url="http://[::1]:8/").url == "http://[::1]:8"
    assert place({"WATSONX_URL": "https://wx.example", "WATSONX_REGION": ""}).url == "https://wx.example"


@pytest.mark.parametrize(
    ("environ", "options", "said"),
    [
        ({"WATSONX_IAM_APIKEY": ""}, {}, "WATSONX_IAM_APIKEY"),
        ({}, {"api_key_env": "MINE"}, "MINE"),
        ({"WATSONX_REGION": ""}, {}, "no region"),
        ({"WATSONX_REGION": "mars"}, {}, "'mars' is unknown"),
        ({}, {"region": "eu-de", "url": "https://a.example"}, "keep one"),
        ({}, {"url": "http://us-south.ml.cloud.ibm.com"}, "https"),
        ({}, {"url": "https://a.example/ml/v1"}, "must be a host"),
        ({}, {"url": "https://user:pw@a.example"}, "must be a host"),
        ({}, {"url": "https://[::1"}, "no address"),
        ({}, {"iam_url": "ftp://a.example"}, "'iam_url'"),
        ({"WATSONX_PROJECT_ID": ""}, {}, "neither project nor space"),
        ({"WATSONX_SPACE_ID": "s"}, {}, "keep one"),
        ({"WATSONX_VERSION": "latest"}, {}, "YYYY-MM-DD"),
    ],
)
def test_what_is_missing_or_wrong_is_named(environ, options, said):
    assert said in refusal(environ, **options)


def test_options_are_validated(monkeypatch):
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    for options, said in (({"regoin": "x"}, "no option 'regoin'"), ({"max_retries": -1}, "max_retries")):
        with pytest.raises(BackendLoadError, match=said):
            open_model(settings(**options))
    with pytest.raises(BackendLoadError, match="name the model"):
        open_model(settings(""))


def start(cloud, source=CHAT, **options):
    async def go():
        async with model(cloud, source, **options) as backend:
            return backend.capabilities

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ibm/granite-4-h-smal", "offers no model 'ibm/granite-4-h-smal'; near to it are ibm/granite-4-h-small"),
        (WITHDRAWN, "has withdrawn"),
        (RETIRED, "has withdrawn"),
        (RERANK, "it can do rerank"),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_start(cloud, source, said):
    with pytest.raises(BackendLoadError, match=said):
        start(cloud, source)


def test_the_list_is_read_to_its_last_page(cloud):
    assert set(start(cloud, EMBED).operations) == {"createEmbedding"}


def test_a_model_that_will_be_withdrawn_starts(cloud):
    assert "createChatCompletion" in start(cloud, VISION).operations


def test_a_wrong_key_stops_the_start_with_the_reason(cloud):
    with pytest.raises(BackendLoadError, match=r"does not accept the API key of this server \(BXNIM0415E\)"):
        start(cloud, api_key_env="PATH")


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([Fault(status=500)] * 3, "answers 500"),
        ([Fault(body=b"{}")] * 3, "sent no token"),
        ([Fault(body=b'{"access_token": "a\\nb", "expires_in": 3600}')] * 3, "sent no token"),
        ([Fault(body=b'{"access_token": "a", "expires_in": 0}')] * 3, "sent no token"),
    ],
)
def test_an_iam_that_gives_no_token_stops_the_start(cloud, faults, said):
    cloud.iam_faults.extend(faults)
    with pytest.raises(BackendLoadError, match=said):
        start(cloud)


def test_an_iam_that_fails_now_and_then_does_not(cloud):
    cloud.iam_faults.extend([Fault(status=503), Fault(status=429)])
    start(cloud)


def test_nobody_there_stops_the_start(cloud):
    with pytest.raises(BackendLoadError, match="The service behind this model cannot be reached"):
        start(cloud, url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(BackendLoadError, match="IBM Cloud IAM cannot be reached"):
        start(cloud, iam_url="http://127.0.0.1:9")


def test_a_model_can_be_stopped_twice_and_after_a_failed_start(cloud):
    async def go():
        async with model(cloud) as backend:
            await backend.stop()
            await backend.stop()
            with pytest.raises(Exception, match="not loaded"):
                await chat(backend)

    asyncio.run(go())
