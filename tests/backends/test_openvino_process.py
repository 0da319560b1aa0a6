"""The engine's process and its files: stopped, crashed, worn out, converted, damaged."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from engines import ENDLESS, PARIS, POEM, Answer, answers, ask, open_engine, until

from specserve.backends.openvino.kept import SEAL
from specserve.spec.errors import BackendLoadError, EngineFailure, Unavailable


def test_stopping_fails_what_runs_and_ends_the_process(gguf: Path) -> None:
    async def stop_while_running() -> None:
        engine = await open_engine(gguf)
        [pid] = engine.pids
        running = asyncio.ensure_future(answers(engine, POEM, ENDLESS, 2))
        await until(lambda: engine.activity().running == 2)
        await engine.stop()
        await engine.stop()
        with pytest.raises(Unavailable):
            await running
        with pytest.raises(Unavailable):
            await ask(engine, PARIS)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(stop_while_running())


def test_a_crash_of_the_engine_fails_its_requests_and_starts_another(gguf: Path) -> None:
    async def crash() -> Answer:
        engine = await open_engine(gguf)
        running = asyncio.ensure_future(answers(engine, POEM, ENDLESS, 1))
        await until(lambda: engine.activity().running == 1)
        os.kill(engine.pids[0], signal.SIGKILL)
        with pytest.raises(EngineFailure):
            await running
        assert engine.outage() == "The engine broke and is starting again."
        with pytest.raises(Unavailable):
            await ask(engine, PARIS)
        await until(lambda: engine.pids != (), seconds=60)
        assert engine.outage() is None
        answer = await ask(engine, PARIS)
        await engine.stop()
        return answer

    assert "Paris" in asyncio.run(crash()).text


def test_a_worn_engine_is_replaced_and_who_comes_meanwhile_waits(gguf: Path) -> None:
    async def wear() -> tuple[list[Answer], set[tuple[int, ...]]]:
        engine = await open_engine(gguf)
        pids = {engine.pids}
        running = asyncio.ensure_future(ask(engine, PARIS))
        while not engine.activity().running:
            await asyncio.sleep(0.01)
        worn = b'{"outputs": [], "running": 1, "cache_usage": 0.1, "worn": true}\n'
        engine._supervisor.worker._stdout.feed_data(worn)
        early = await running  # what runs is not disturbed
        pids.add(engine.pids)
        engine._supervisor.worker._stdout.feed_data(worn)
        await until(lambda: not engine.pids)
        late = await asyncio.gather(*(ask(engine, PARIS) for _ in range(3)))
        pids.add(engine.pids)
        await engine.stop()
        return [early, *late], pids

    found, pids = asyncio.run(wear())
    assert all("Paris" in answer.text for answer in found)
    assert len(pids) == 2


def test_a_prompt_that_the_cache_cannot_hold_is_outside_the_context(gguf: Path) -> None:
    async def context_length() -> int:
        engine = await open_engine(gguf, context_length=10_000_000, cache_size_gb=1)
        await engine.stop()
        return engine.context_length

    assert 20_000 < asyncio.run(context_length()) < 25_000  # of f32


def test_the_converted_model_is_kept_in_the_cache_and_not_beside_the_file(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "mine" / "model.gguf"
    own.parent.mkdir()
    own.hardlink_to(gguf)

    async def open_two_at_once() -> None:
        for engine in await asyncio.gather(open_engine(own), open_engine(own)):
            await engine.stop()

    asyncio.run(open_two_at_once())
    assert [path.name for path in own.parent.iterdir()] == ["model.gguf"]
    [converted] = (path for path in (tmp_path / "cache" / "openvino").iterdir() if path.is_dir())
    assert sorted(path.name for path in converted.iterdir()) == [SEAL, "openvino_model.bin", "openvino_model.xml"]


def test_a_damaged_conversion_is_made_again(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path))

    async def open_and_ask() -> Answer:
        engine = await open_engine(gguf)
        answer = await ask(engine, PARIS)
        await engine.stop()
        return answer

    asyncio.run(open_and_ask())
    [converted] = (path for path in (tmp_path / "openvino").iterdir() if path.is_dir())
    (converted / "openvino_model.xml").write_text("<net")
    assert "Paris" in asyncio.run(open_and_ask()).text


def test_a_model_that_cannot_be_opened_says_why(tmp_path: Path, gguf: Path) -> None:
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (tmp_path / name).write_text("nothing")
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 10}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BackendLoadError, match="is not a tokenizer"):
        asyncio.run(open_engine(tmp_path))
    with pytest.raises(BackendLoadError, match='"NOSUCH" name is not registered'):
        asyncio.run(open_engine(gguf, device="NOSUCH"))
