import asyncio
import base64

import httpx
import pytest
from starlette.responses import PlainTextResponse

from specserve.config.settings import Settings
from specserve.http.auth import AuthMiddleware, KeyRing, generate_key, is_loopback
from specserve.spec.errors import Unauthenticated

KEY = "sk-test-0123456789"


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


@pytest.fixture
def ring():
    return KeyRing(["sk-first", KEY])


@pytest.fixture
def get(ring):
    app = AuthMiddleware(PlainTextResponse("in"), ring)

    def fetch(path, headers=None, root_path=""):
        async def ask():
            transport = httpx.ASGITransport(app, root_path=root_path)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())

    return fetch


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {KEY}",
        f"bearer   {KEY} ",
        "Bearer sk-first",
        basic(b"someone:" + KEY.encode()),
        basic(b":" + KEY.encode()),
    ],
)
def test_a_right_key_passes(ring, header):
    ring.check(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Token {KEY}",
        KEY,
        "Basic !!!not-base64",
        "Basic QQ=",
        basic(b"no colon"),
        basic(b"\xff\xfe:\xff"),
        basic(KEY.encode() + b":"),
        "Bearer caf\u00e9",
        "Bearer \u4f60\u597d",
        "Bearer " + "x" * 100_000,
    ],
)
def test_anything_else_is_refused_without_repeating_it(ring, header):
    with pytest.raises(Unauthenticated) as refusal:
        ring.check(header)
    assert len(refusal.value.message) < 120
    assert KEY[:-1] not in refusal.value.message


def test_a_missing_key_and_a_wrong_one_are_told_apart(ring):
    with pytest.raises(Unauthenticated, match="You must give an API key"):
        ring.check(None)
    with pytest.raises(Unauthenticated, match="The API key is wrong"):
        ring.check("Bearer wrong")


def test_an_empty_ring_lets_everyone_pass():
    assert not KeyRing()
    KeyRing().check(None)


def test_the_ring_shows_no_key(ring):
    assert KEY not in repr(ring)
    assert KEY not in repr(vars(ring))


@pytest.mark.parametrize("path", ["/v1/models", "/docs", "/openapi.json", "/", "/health/x", "/healthy", "/v1/health/"])
def test_every_path_needs_a_key(get, path):
    response = get(path)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "Bearer" in response.headers["www-authenticate"]
    assert get(path, headers={"Authorization": f"Bearer {KEY}"}).text == "in"


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
def test_health_needs_none(get, path):
    assert get(path).text == "in"


def test_health_needs_none_behind_a_path_prefix(get):
    assert get("/llm/health", root_path="/llm").text == "in"
    assert get("/llm/v1/models", root_path="/llm").status_code == 401


def test_bytes_that_are_no_text_are_refused(get):
    assert get("/", headers={"Authorization": b"Bearer \xff\xfe\x80"}).status_code == 401


def test_two_authorization_headers_are_refused(get):
    headers = [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer other")]
    assert get("/", headers=headers).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "localhost.example.org", "1.2", ""])
def test_everything_else_is_no_loopback(host):
    assert not is_loopback(host)


def test_settings_without_a_key_are_open_on_loopback_only():
    assert not KeyRing.from_settings(Settings(host="127.0.0.1"))
    assert KeyRing.from_settings(Settings(host="0.0.0.0", api_keys=[KEY]))
    with pytest.raises(ValueError, match="needs an API key"):
        KeyRing.from_settings(Settings(host="0.0.0.0"))


def test_made_keys_are_long_and_different():
    keys = {generate_key() for _ in range(10)}
    assert len(keys) == 10
    assert all(key.startswith("sk-specserve-") and len(key) > 50 for key in keys)
