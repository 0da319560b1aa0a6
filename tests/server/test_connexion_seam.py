"""What we rely on in Connexion beyond its public names. If a test fails, its bounds in pyproject.toml are wrong."""

import asyncio

import pytest

from specserve.http.connexion_seam import (
    AsyncApp,
    LifespanMiddleware,
    OperationAPI,
    RoutedMiddleware,
    TableResolver,
    routed,
)

THING = {"$ref": "#/components/schemas/Thing"}
CONTENT = {"application/json": {"schema": THING}}
DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "t", "version": "1"},
    "paths": {
        "/a": {"get": {"operationId": "getA", "responses": {"200": {"description": "d", "content": CONTENT}}}},
        "/b": {
            "post": {
                "operationId": "createB",
                "requestBody": {"required": True, "content": CONTENT},
                "responses": {"200": {"description": "d"}},
            }
        },
    },
    "components": {"schemas": {"Thing": {"type": "object", "description": "d", "x-specserve-one-of": ["a", "b"]}}},
}


async def get_a():
    """A handler."""


async def create_b():
    """Another."""


class Api(OperationAPI):
    """Answers each request with what Connexion made of its operation."""

    def make_operation(self, operation):
        async def answer(scope, _receive, send):
            await send({"operation": operation, "raw": self.specification.raw, "path": scope["path"]})

        return answer


class Middleware(RoutedMiddleware):
    api_cls = Api


@pytest.fixture
def ask():
    """Send a request to the application, as `paths.py` hands it on; gives what came back."""
    app = AsyncApp(__name__, middlewares=[LifespanMiddleware, Middleware])
    app.add_api(DOCUMENT, base_path="/v1", resolver=TableResolver({"getA": get_a, "createB": create_b}))

    def ask(operation_id, extensions=None):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/elsewhere", "extensions": extensions or {}}
        scope["extensions"] = routed(scope, "/v1", operation_id)
        asyncio.run(app(scope, None, send))
        return sent[0]

    return ask


def test_the_operation_named_in_the_scope_is_called_whatever_the_path(ask):
    assert ask("getA")["operation"].operation_id == "getA"
    assert ask("createB")["operation"].operation_id == "createB"
    assert ask("getA")["path"] == "/elsewhere"


def test_an_unknown_operation_is_an_error_and_no_silence(ask):
    with pytest.raises(Exception, match="unknown operation_id"):
        ask("getC")


def test_other_extensions_of_the_scope_stay():
    found = routed({"extensions": {"tls": {}}}, "/v1", "getA")
    assert found.keys() == {"tls", "connexion_routing"}


def test_an_operation_has_the_handler_of_our_table(ask):
    assert ask("getA")["operation"].function is get_a
    assert ask("createB")["operation"].function is create_b


def test_the_document_comes_as_it_was_given(ask):
    assert ask("getA")["raw"]["paths"]["/b"] == DOCUMENT["paths"]["/b"]
    assert ask("getA")["raw"]["components"] == DOCUMENT["components"]


def test_an_operations_body_and_answers_have_their_references_followed(ask):
    body = ask("createB")["operation"].request_body
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"]["x-specserve-one-of"] == ["a", "b"]
    answer = ask("getA")["operation"].responses["200"]
    assert answer["content"]["application/json"]["schema"]["type"] == "object"


def test_what_the_contract_may_not_say_ends_the_start():
    app = AsyncApp(__name__, middlewares=[Middleware])
    broken = {**DOCUMENT, "paths": {"/a": {"get": {"operationId": "getA"}}}}
    with pytest.raises(Exception, match="responses"):
        app.add_api(broken, base_path="/v1", resolver=TableResolver({"getA": get_a}))
