"""The spec and the handlers must match, or the server does not start."""

import sys

import pytest

from specserve.http.binding import UnboundOperations, bind, handler_name
from specserve.spec.document import load


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A handlers package with a single handler."""
    folder = tmp_path / "some_handlers"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "chat.py").write_text("async def create_chat_completion(request): ...\nasync def _helper(): ...\n")
    (folder / "_private.py").write_text("raise ImportError('never imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("some_handlers")
    for name in [name for name in sys.modules if name.startswith("some_handlers")]:
        del sys.modules[name]


def document(**operations):
    paths = {
        path: {method: {"operationId": name, "tags": ["Any"], "responses": {}}}
        for name, (method, path) in operations.items()
    }
    return {"openapi": "3.0.3", "paths": paths}


CHAT = {"createChatCompletion": ("post", "/chat/completions")}


def test_the_real_spec_and_the_real_handlers_match():
    bind(load())


def test_a_handler_is_named_by_path_and_operation():
    name = handler_name("specserve.handlers", "/chat/completions", "createChatCompletion")
    assert name == "specserve.handlers.chat.create_chat_completion"
    assert handler_name("h", "/models/{model}", "retrieveModel") == "h.models.retrieve_model"


def test_a_match_is_quiet(package):
    bind(document(**CHAT), package)


def test_an_operation_without_handler_is_told_by_its_dotted_name(package):
    with pytest.raises(UnboundOperations, match=r"operation without handler: some_handlers\.files\.list_files"):
        bind(document(**CHAT, listFiles=("get", "/files")), package)
    with pytest.raises(UnboundOperations, match=r"some_handlers\.chat\.get_chat_completion"):
        bind(document(**CHAT, getChatCompletion=("get", "/chat/completions/{id}")), package)


def test_a_handler_without_operation_is_told_by_its_dotted_name(package):
    with pytest.raises(
        UnboundOperations, match=r"handler without operation: some_handlers\.chat\.create_chat_completion"
    ):
        bind(document(), package)


def test_a_module_that_cannot_be_imported_says_so_itself(package, tmp_path):
    (tmp_path / "some_handlers" / "files.py").write_text("import no_such_library_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        bind(document(**CHAT), package)
