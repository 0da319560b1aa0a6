"""What `server/process/uvicorn_server.py` relies on of uvicorn beyond its documentation."""

import inspect

import uvicorn
from uvicorn.config import Config
from uvicorn.server import Server, ServerState


async def app(scope, receive, send): ...


def test_the_server_calls_what_it_is_given_for_each_connection_with_the_state_of_the_lifespan():
    def connection(**given): ...

    config = Config(app, http=connection, interface="asgi3", log_config=None, proxy_headers=False)
    config.load()
    assert config.http_protocol_class is connection
    assert config.loaded_app is app
    source = inspect.getsource(Server.startup)
    assert "config.http_protocol_class(" in source
    assert "app_state=self.lifespan.state" in source


def test_the_state_has_connections_tasks_and_default_headers():
    state = ServerState()
    assert state.connections == state.tasks == set()
    assert state.default_headers == []
    source = inspect.getsource(Server.shutdown) + inspect.getsource(Server._wait_tasks_to_complete)
    assert "connection.shutdown()" in source
    assert "self.server_state.connections" in source


def test_the_methods_that_we_extend_are_there():
    for name in ("serve", "startup", "shutdown", "handle_exit"):
        assert callable(getattr(uvicorn.Server, name))
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
