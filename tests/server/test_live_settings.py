"""Each setting takes effect on SIGHUP, or is named as waiting for the next start; its field says which."""

import asyncio

import pytest
from structlog.testing import capture_logs

from specserve.config.settings import Settings
from specserve.config.sources import is_live
from specserve.models.registry import Changes
from specserve.process.reloading import Reloader


class Read(Settings):
    """Settings that remember which of them were read."""

    def __getattribute__(self, name):
        if name in Settings.model_fields:
            READ.add(name)
        return super().__getattribute__(name)


READ = set()


def test_what_is_live_is_what_a_running_server_reads_again():
    settings = Read()
    READ.clear()
    assert settings.served_models
    assert settings.bounds
    assert {name for name in Settings.model_fields if is_live(name)} == READ


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_takes_effect_or_is_named_as_waiting_for_the_next_start(name):
    before = Settings()
    other = before.model_copy(update={name: object()})

    async def reload():
        return other, Changes((), (), ())

    with capture_logs() as lines:
        asyncio.run(Reloader(before, reload)())
    waiting = [line["settings"] for line in lines if "next start" in line["event"]]
    assert waiting == ([] if is_live(name) else [[name]])
