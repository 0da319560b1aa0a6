"""Hugging Face models as OpenVINO: a directory with config.json and safetensors becomes one with OpenVINO IR.

It is kept in the cache directory, whole or not at all, and not made again while the model's files stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from specserve.backends.openvino.converter import converter
from specserve.backends.weights.cache import cache_dir
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

WeightFormat = Literal["int4", "int8", "fp16"]
WEIGHT_FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
DEFAULT_WEIGHT_FORMAT: WeightFormat = "int8"

_MODEL = "openvino_model.xml"
_LOG = "conversion.log"
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt): (.+)")


def is_convertible(folder: Path) -> bool:
    """Whether a folder has what is converted, and is not OpenVINO already. Pickled weights are not: they are code."""
    if (folder / _MODEL).exists() or not (folder / "config.json").is_file():
        return False
    return any(folder.glob("*.safetensors"))


def converted(
    folder: Path,
    weight_format: WeightFormat = DEFAULT_WEIGHT_FORMAT,
    *,
    output: Path | None = None,
    abandon: threading.Event | None = None,
) -> Path:
    """Convert a folder, unless that was done before; returns the folder with OpenVINO IR. Blocks, for minutes.

    Args:
        folder: See `is_convertible`.
        weight_format: Number format of the weights; int8 and int4 keep norms and the like in 16 bits.
        output: A folder that does not exist yet, in place of the cache.
        abandon: Set by another thread to end it.

    Raises:
        BackendLoadError: There is no converter, or it could not convert.
    """
    target = output or _cached(folder, weight_format)
    if output is None and (target / _MODEL).exists():
        return target
    if output is not None and output.exists():
        raise BackendLoadError(f"{output} exists already")
    python = converter()
    if python is None:
        raise BackendLoadError(
            f"{folder} is not in OpenVINO's format; this converts it: specserve models convert {folder}"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if output is None:
            _convert_alone(python, folder, weight_format, target, abandon)
        else:
            _convert(python, folder, weight_format, target, abandon)
    except OSError as error:
        raise BackendLoadError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _cached(folder: Path, weight_format: WeightFormat) -> Path:
    """Where the OpenVINO form of a folder is kept; other files in it are another place."""
    folder = folder.resolve()
    facts = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    identity = "|".join([str(folder), *(f"{name}|{fact.st_size}|{fact.st_mtime_ns}" for name, fact in facts)])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return cache_dir() / "openvino" / f"{folder.name}-{weight_format}-{digest}"


def _convert_alone(
    python: Path, folder: Path, weight_format: WeightFormat, target: Path, abandon: threading.Event | None
) -> None:
    """Convert while no other process converts the same; if one does, wait for it and take what it made."""
    from filelock import FileLock

    with FileLock(target.parent / f".{target.name}.lock"):
        if (target / _MODEL).exists():
            return
        for left_over in target.parent.glob(f".{target.name}.tmp-*"):  # by a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        _convert(python, folder, weight_format, target, abandon)


def _convert(
    python: Path, folder: Path, weight_format: WeightFormat, target: Path, abandon: threading.Event | None
) -> None:
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.tmp-"))
    command = [str(python), "-P", "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    command += ["--model", str(folder.resolve()), "--task", "text-generation-with-past", "--library", "transformers"]
    command += ["--weight-format", weight_format]
    if weight_format == "int4":
        command += ["--group-size-fallback", "adjust"]  # groups of 128 do not fit every model
    command.append(str(work / "made"))
    sys.stderr.write(f"{folder.name}: converting to OpenVINO with {weight_format} weights, which takes minutes\n")
    try:
        _run(command, work, abandon)
        if not (work / "made" / _MODEL).exists():
            raise BackendLoadError(f"cannot convert {folder}: {_reason(work / _LOG)}")
        (work / "made").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(command: Sequence[str], work: Path, abandon: threading.Event | None) -> None:
    environment = os.environ | {name: str(work) for name in ("TMPDIR", "TMP", "TEMP")}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}  # all that is needed is there, or it is an error
    with (work / _LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                if abandon is not None and abandon.is_set():
                    raise BackendLoadError("the conversion was given up")
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()


def _reason(log: Path) -> str:
    """What went wrong by the converter's own words: the line with the last exception's name, or the last of all."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    named = [found[1] for line in lines if (found := _EXCEPTION.match(line))]
    return (named or lines or ["it gave no reason"])[-1][:300]
