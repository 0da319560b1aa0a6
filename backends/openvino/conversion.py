"""Hugging Face models as OpenVINO: a directory with config.json and safetensors becomes one with OpenVINO IR.

It is kept in the cache directory, whole or not at all, and not made again while the model's files stay as they are.
"""

from __future__ import annotations

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
from specserve.backends.openvino.kept import keep
from specserve.backends.openvino.seams import MODEL
from specserve.backends.weights.cache import cache_dir
from specserve.backends.weights.digests import content_id
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

WeightFormat = Literal["int4", "int8", "fp16"]
WEIGHT_FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
DEFAULT_WEIGHT_FORMAT: WeightFormat = "int8"

_LOG = "conversion.log"
_READ = frozenset({".safetensors", ".json", ".jinja", ".model", ".tiktoken", ".txt"})
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt): (.+)")


def is_convertible(folder: Path) -> bool:
    """Whether a folder has what is converted, and is not OpenVINO already. Pickled weights are not: they are code."""
    if (folder / MODEL).exists() or not (folder / "config.json").is_file():
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
    if output is not None and output.exists():
        raise BackendLoadError(f"{output} exists already")

    def make(made: Path) -> None:
        _convert(folder, weight_format, made, abandon)

    try:
        if output is None:
            return keep(_cached(folder, weight_format), make)
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}.tmp-"))
        try:
            make(work / "made")
            (work / "made").rename(output)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise BackendLoadError(f"cannot write {output or cache_dir()}: {error.strerror or error}") from error
    return output


def _cached(folder: Path, weight_format: WeightFormat) -> Path:
    """Where the OpenVINO form of a folder is kept; other contents are another place."""
    folder = folder.resolve()
    digest = content_id([file for file in sorted(folder.iterdir()) if file.suffix in _READ and file.is_file()])
    return cache_dir() / "openvino" / f"{folder.name}-{weight_format}-{digest}"


def _convert(folder: Path, weight_format: WeightFormat, made: Path, abandon: threading.Event | None) -> None:
    """Convert into a folder; what is written beside it can be thrown away."""
    python = converter()
    if python is None:
        raise BackendLoadError(
            f"{folder} is not in OpenVINO's format; this converts it: specserve models convert {folder}"
        )
    command = [str(python), "-P", "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    command += ["--model", str(folder.resolve()), "--task", "text-generation-with-past", "--library", "transformers"]
    command += ["--weight-format", weight_format]
    if weight_format == "int4":
        command += ["--group-size-fallback", "adjust"]  # groups of 128 do not fit every model
    command.append(str(made))
    sys.stderr.write(f"{folder.name}: converting to OpenVINO with {weight_format} weights, which takes minutes\n")
    _run(command, made.parent, abandon)
    if not (made / MODEL).exists():
        raise BackendLoadError(f"cannot convert {folder}: {_reason(made.parent / _LOG)}")


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
