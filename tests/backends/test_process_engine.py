"""An engine in a process that says what no engine should, over the pipes that real ones use."""

import asyncio
from pathlib import Path

import pytest
from scripted import Bytes

from specserve.backends.local.engine import Sampling
from specserve.backends.local.process.engine import ProcessEngine
from specserve.backends.local.process.worker_process import Prepared, Spawned, WorkerProcess
from specserve.backends.local.tokens.model_files import ModelFiles
from specserve.spec.errors import APIError, EngineFailure

FILES = ModelFiles(Path("parrot"), Bytes(), 1000, None, {}, ())


class Parrot(ProcessEngine):
    def config(self, sampling):
        return {}


async def launch():
    return await WorkerProcess.start({"model": "parrot"}, Spawned("parroting_engine"), "Nothing")


@pytest.mark.parametrize("stop", [(), ("never",)])
@pytest.mark.parametrize("unknown", [-1, -(2**70), 256])
def test_a_token_that_the_model_does_not_have_ends_its_own_request(stop, unknown, monkeypatch, caplog):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    sampling = Sampling(max_tokens=9, stop=stop)

    async def ask(engine, *prompt):
        try:
            steps = [step async for step in engine.generate(prompt, sampling, 1)]
        except APIError as error:
            return error
        assert steps[-1][0].finish_reason == "length"
        return [token for (output,) in steps for token in output.token_ids]

    async def run():
        engine = Parrot(FILES, launch)
        await engine.start()
        pids = engine.pids
        try:
            pair = await asyncio.gather(ask(engine, 1, unknown, 3), ask(engine, 4, 5, 6))
            after = await asyncio.gather(ask(engine, 7, 8), ask(engine, 9, 10))
            assert engine.pids == pids
            return *pair, *after
        finally:
            await engine.stop()

    failed, *others = asyncio.run(asyncio.wait_for(run(), 60))
    assert isinstance(failed, EngineFailure)
    assert failed.message == "The engine gave a token that this model does not have."
    assert others == [[4, 5, 6], [7, 8], [9, 10]]
    assert str(unknown) in caplog.text


def test_a_process_that_was_started_early_is_taken_once_or_ended(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    prepared = Prepared("parroting_engine")
    prepared.start()
    early = prepared._spawned
    first, second = prepared.take(), prepared.take()
    try:
        assert first is early
        assert second is not early
        prepared.end()
        assert first.popen.poll() is None, "who has taken it ends it"
    finally:
        first.end()
        second.end()
    prepared.start()
    left = prepared._spawned
    prepared.end()
    prepared.end()
    assert left.popen.poll() is not None
