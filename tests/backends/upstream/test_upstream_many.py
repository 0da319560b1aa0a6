"""Entries that stand for many models of an upstream."""

import asyncio

import pytest
from stand_in import standing_in

from specserve.backends.base import ModelSettings
from specserve.backends.upstream.backend import Upstream
from specserve.spec.errors import BackendLoadError


def named(*names):
    return {"object": "list", "data": [{"id": name} for name in names]}


def expand(*lists, entry="*", **options):
    """What an entry stands for, with an address for each list."""

    async def go():
        async with standing_in() as one, standing_in() as two:
            seen = [one, two][: len(lists)]
            for address, models in zip(seen, lists, strict=True):
                address.models = models
            options["base_urls"] = [address.url for address in seen]
            backend = Upstream(ModelSettings(id=entry, backend="upstream", options=options))
            try:
                return await backend.expand()
            finally:
                await backend.stop()

    return asyncio.run(go())


def names(models):
    return [(model.id, model.options["model"]) for model in models]


def test_each_model_that_it_lists_is_meant():
    models = expand(named("a", "org/b"), refuse=["logit_bias"])
    assert names(models) == [("a", "a"), ("org/b", "org/b")]
    assert [model.options["refuse"] for model in models] == [["logit_bias"]] * 2
    assert names(expand(named("a", "org/b"), entry="x/*")) == [("x/a", "a"), ("x/org/b", "org/b")]


def test_or_those_of_a_pattern():
    assert names(expand(named("a", "org/b"), entry="x/*", model="org/*")) == [("x/b", "org/b")]
    with pytest.raises(BackendLoadError, match=r"lists no model 'orgs/\*'"):
        expand(named("a", "org/b"), model="orgs/*")


def test_of_several_addresses_those_that_all_have():
    assert names(expand(named("a", "b", "c"), named("c", "b"))) == [("b", "b"), ("c", "c")]
    assert names(expand(None, named("c", "b"))) == [("c", "c"), ("b", "b")]


@pytest.mark.parametrize(
    ("models", "why"), [(None, "it answers 5"), ({"data": 1}, "cannot be read"), (named(), "is empty")]
)
def test_an_upstream_that_does_not_tell_is_told(models, why):
    with pytest.raises(BackendLoadError, match=f"does not list its models: http://127.0.0.1:.*{why}"):
        expand(models)


def test_an_upstream_that_is_not_there_is_told():
    backend = Upstream(ModelSettings(id="*", backend="upstream", source="http://127.0.0.1:9/v1"))

    async def go():
        try:
            await backend.expand()
        finally:
            await backend.stop()

    with pytest.raises(BackendLoadError, match=r"does not list its models: http://127\.0\.0\.1:9/v1: Client"):
        asyncio.run(go())


@pytest.mark.parametrize(
    ("entry", "model", "said"),
    [("*", "a", "needs 'options.model' to have one"), ("a", "*", "the id needs one too"), ("*", "*/*", "at most")],
)
def test_id_and_model_stand_for_many_or_for_one(entry, model, said):
    settings = ModelSettings(id=entry, backend="upstream", source="http://127.0.0.1:9/v1", options={"model": model})
    with pytest.raises(BackendLoadError) as caught:
        Upstream(settings)
    assert said in str(caught.value)
    assert caught.value.key == ("options", "model")
