"""Abilities: what a backend can do is what methods it has, and what it declares must be among that."""

import asyncio

import pytest

from specserve.backends.abilities import Chats, Completes, Embeds, abilities, check_declared, operations_of
from specserve.backends.base import Backend, Capabilities, ModelSettings
from specserve.backends.table import backend_factory
from specserve.models.registry import Registry
from specserve.spec.errors import BackendLoadError, OperationNotSupported


class Embedder(Backend):
    """Has one ability, and does not inherit its Protocol."""

    declares = ("createEmbedding",)

    @property
    def capabilities(self):
        return Capabilities({operation: frozenset({"input", "model"}) for operation in self.declares})

    async def start(self):
        pass

    async def stop(self):
        pass

    async def embed(self, request):
        return None


class Boaster(Embedder):
    declares = ("createEmbedding", "createChatCompletion")


class Stranger(Embedder):
    declares = ("retrieveModel",)


def settings(backend, **more):
    return ModelSettings("m", backend, **more)


def test_a_backend_has_the_abilities_whose_methods_it_has():
    backend = Embedder(settings("x"))
    assert backend.ability(Embeds) is backend
    for kind in (Chats, Completes):
        with pytest.raises(OperationNotSupported):
            backend.ability(kind)
    assert operations_of(backend) == ["createEmbedding"]


def test_the_contract_says_which_ability_an_operation_needs():
    needed = {"createChatCompletion": "chat", "createCompletion": "complete", "createEmbedding": "embed"}
    assert abilities().items() >= needed.items()
    assert "retrieveModel" not in abilities()


def test_what_a_backend_declares_is_held_against_what_it_can_do():
    check_declared(Embedder(settings("x")))
    with pytest.raises(BackendLoadError, match=r"declares 'createChatCompletion' and has no method 'chat'"):
        check_declared(Boaster(settings("x")))
    with pytest.raises(BackendLoadError, match=r"'retrieveModel', which is not an operation of models"):
        check_declared(Stranger(settings("x")))


def test_a_model_whose_backend_declares_too_much_is_not_loaded():
    async def start():
        registry = Registry([settings(f"{__name__}:Boaster")])
        await registry.start()

    with pytest.raises(BackendLoadError, match="has no method 'chat'"):
        asyncio.run(start())


@pytest.mark.parametrize("kind", [Chats, Completes, Embeds])
def test_each_ability_is_one_that_the_contract_asks_for(kind):
    methods = [name for name in vars(kind) if not name.startswith("_")]
    assert len(methods) == 1
    assert methods[0] in abilities().values()


def test_echo_answers_conversations_continues_texts_and_embeds():
    echo = backend_factory("echo")(settings("echo"))
    for kind in (Chats, Completes, Embeds):
        assert echo.ability(kind) is echo
