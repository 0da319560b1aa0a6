"""What a web page can make a browser on this machine send to a server that needs no key."""

import base64
import json

import pytest
from servers import running

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]}


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "localhost.:80", "127.0.0.1:1", "127.7.7.7", "[::1]:8000", "[::ffff:127.0.0.1]"],
)
def test_names_of_this_machine_are_answered(echo, host):
    assert echo.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"],
)
def test_another_host_is_refused_as_dns_rebinding_would_name_it(echo, host):
    for path in ("/v1/models", "/health", "/docs/", "/nowhere"):
        response = echo.get(path, headers={"host": host})
        assert response.status_code == 421
        assert response.json()["error"]["code"] == "misdirected_request"


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"origin": "http://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"origin": "http://localhost:1", "sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_is_refused_also_without_a_content_type(echo, headers):
    response = echo.post("/v1/chat/completions", content=json.dumps(CHAT), headers=headers)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "permission_denied"
    assert "access-control-allow-origin" not in response.headers


def test_our_own_pages_and_links_to_them_are_answered(echo):
    ours = str(echo.base_url).rstrip("/")
    same = {"origin": ours, "sec-fetch-site": "same-origin"}
    assert echo.post("/v1/chat/completions", json=CHAT, headers=same).status_code == 200
    assert echo.post("/v1/chat/completions", json=CHAT, headers={"origin": ours}).status_code == 200
    behind_a_proxy = {"origin": "https://proxy.example", "sec-fetch-site": "same-origin"}
    assert echo.post("/v1/chat/completions", json=CHAT, headers=behind_a_proxy).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert echo.get("/docs/", headers=link).status_code == 200
    assert echo.get("/docs/", headers={"sec-fetch-site": "none"}).status_code == 200


def test_origins_hosts_and_keys_that_the_operator_allows_are_answered():
    settings = ["--cors-origin", "http://app.example", "--allowed-host", "llm.example"]
    with running("--model", "echo", *settings) as server, server.client() as client:
        allowed = {"origin": "http://app.example", "sec-fetch-site": "cross-site", "host": "llm.example:8000"}
        assert client.post("/v1/chat/completions", json=CHAT, headers=allowed).status_code == 200
        assert client.get("/v1/models", headers={"host": "other.example"}).status_code == 421
        assert client.get("/v1/models", headers={"origin": "http://other.example"}).status_code == 403


def test_with_keys_only_what_a_browser_remembers_is_guarded():
    with running("--model", "echo", "--api-key", "sk-test") as server, server.client() as client:
        bearer = {"authorization": "Bearer sk-test", "host": "llm.example", "origin": "http://app.example"}
        assert client.get("/v1/models", headers=bearer).status_code == 200
        basic = {"authorization": "Basic " + base64.b64encode(b"u:sk-test").decode()}
        assert client.get("/v1/models", headers=basic).status_code == 200
        assert client.get("/v1/models", headers={**basic, "sec-fetch-site": "same-origin"}).status_code == 200
        assert client.get("/v1/models", headers={**basic, "sec-fetch-site": "cross-site"}).status_code == 403


def test_the_documentation_runs_nothing_of_others_and_in_no_frame(echo):
    for path in ("/docs/", "/docs/initializer.js", "/docs/swagger-ui.css"):
        headers = echo.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
