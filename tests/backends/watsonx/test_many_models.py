"""All models of a region by one entry: `watsonx:*`, narrower patterns, and what becomes of the list's changes."""

import asyncio
import os
import signal
from unittest.mock import patch

import pytest
from lives import until
from openai import OpenAI
from servers import running
from watsonx_cloud import CHAT, EMBED, LANGUAGE, VISION, running_cloud
from watsonx_cloud.models import BY_ID

from specserve.backends.base import Limits, ModelSettings
from specserve.backends.watsonx import open_model
from specserve.spec.errors import BackendLoadError

ALL = [CHAT, VISION, LANGUAGE, EMBED]
TABLES = """
[[models]]
id = "*"
backend = "watsonx"
source = "*"
aliases = ["wx/*"]

[[models]]
backend = "watsonx"
source = "{}"
owned_by = "us"
defaults = {{ max_tokens = 2 }}
"""


def expand(cloud, source="*", name="*", **more):
    """What an entry stands for, without a server around it."""

    async def go():
        with patch.dict(os.environ, cloud.environ()):
            backend = open_model(ModelSettings(id=name, backend="watsonx", source=source, **more))
        try:
            return await backend.expand()
        finally:
            await backend.stop()

    return asyncio.run(go())


def test_every_model_of_the_region_is_served_with_its_limits_and_follows_the_list(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text(TABLES.format(CHAT))
    with running_cloud() as cloud, running("--config", str(config), environ=cloud.environ()) as server:
        assert len(cloud.listings) == 2, "once for all models of the entry, once for the named one"
        assert len(cloud.renewals) == 1
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

            def listed():
                return {model.id: model for model in client.models.list().data}

            models = listed()
            assert set(models) == {*ALL, *(f"wx/{name}" for name in ALL if name != CHAT)}
            for name in ALL:
                limits, shown = BY_ID[name]["model_limits"], models[name].capabilities
                assert shown["context_length"] == limits["max_sequence_length"]
                assert shown.get("max_output_tokens") == limits.get("max_output_tokens")
            assert models[EMBED].capabilities["embedding_dimensions"] == 48
            assert set(models[LANGUAGE].capabilities["operations"]) == {"createCompletion"}

            said = [{"role": "user", "content": "one two three"}]
            named = client.chat.completions.create(model=CHAT, messages=said)
            found = client.chat.completions.create(model=f"wx/{VISION}", messages=said)
            assert (named.choices[0].message.content, models[CHAT].owned_by) == ("one two", "us")
            assert (found.choices[0].message.content, found.model) == ("one two three", VISION)
            assert len(client.embeddings.create(model=EMBED, input="geese").data[0].embedding) == 48

            cloud.specs = [
                *(spec for spec in cloud.specs if spec["model_id"] != LANGUAGE),
                BY_ID[CHAT] | {"model_id": "ibm/new"},
            ]
            os.kill(server.process.pid, signal.SIGHUP)
            assert until(lambda: listed().get("ibm/new") and listed()["ibm/new"].state == "loaded")
            assert len(cloud.listings) == 3
            assert LANGUAGE not in listed()
            found = client.chat.completions.create(model="ibm/new", messages=said)
            assert found.choices[0].message.content == "one two three"


def test_a_pattern_may_mean_some_of_them_under_other_names(cloud):
    models = expand(cloud, "ibm/*", "x/*")
    assert {(model.id, model.source) for model in models} == {
        (f"x/{name.removeprefix('ibm/')}", name) for name in (CHAT, EMBED)
    }
    assert [model.id for model in expand(cloud, "ibm/*-small")] == ["granite-4-h"]


def test_what_is_said_of_generated_texts_is_not_for_a_model_that_embeds(cloud):
    limits = Limits(max_concurrent_requests=3, max_output_tokens=9)
    models = {model.source: model for model in expand(cloud, defaults={"temperature": 0}, limits=limits)}
    assert (models[CHAT].defaults, models[CHAT].limits) == ({"temperature": 0}, limits)
    assert (models[EMBED].defaults, models[EMBED].limits) == ({}, Limits(max_concurrent_requests=3))


def test_a_region_that_cannot_be_reached_or_has_no_such_model_is_told(cloud):
    with pytest.raises(BackendLoadError, match="The service behind this model cannot be reached"):
        expand(cloud, options={"url": "http://127.0.0.1:9", "max_retries": 0})
    with pytest.raises(BackendLoadError, match=r"no model 'ibm/grenite-\*' that generates text or embeds"):
        expand(cloud, "ibm/grenite-*")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("*", CHAT, "an id with '*' needs 'source' to have one"),
        ("m", "ibm/*", "'source' with '*' stands for many models: the id needs one too"),
        ("*", "*/*", "'source' has one '*' at most"),
    ],
)
def test_id_and_source_stand_for_many_or_for_one(cloud, name, source, said):
    with pytest.raises(BackendLoadError) as caught, patch.dict(os.environ, cloud.environ()):
        open_model(ModelSettings(id=name, backend="watsonx", source=source))
    assert said in str(caught.value)
    assert caught.value.key == ("source",)


def test_an_entry_lists_and_does_not_start(cloud):
    before = len(cloud.renewals)
    assert expand(cloud)
    assert len(cloud.renewals) == before
