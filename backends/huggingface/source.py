"""Where a model's files are: a path, embedded weights, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from specserve.backends.local.tokens.model_files import read_json
from specserve.backends.weights import cache as weights
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import threading

HUB = "hf:"

_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./-]+\.gguf))?(?:@(?P<revision>[\w./-]+))?")
_FILES = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.tiktoken", "*.txt")


def check(source: str) -> None:
    """Refuse, before anything is loaded, what cannot be a source.

    Raises:
        BackendLoadError: It is empty, no name of a repository, or nothing lies there.
    """
    if not source:
        raise BackendLoadError("the model has no source; give a directory, a .gguf file, or hf:org/name")
    if source.startswith(HUB):
        if not _NAME.fullmatch(source.removeprefix(HUB)):
            raise BackendLoadError("a source on the hub is hf:org/name, hf:org/name/FILE.gguf or hf:org/name@REVISION")
    elif not source.startswith(weights.SCHEME):
        path = Path(source).expanduser()
        if not path.exists():
            raise BackendLoadError(f"there is no file or directory {path}")
        if path.is_dir() and not (path / "config.json").exists():
            raise BackendLoadError(f"{path} has no config.json")
        if not path.is_dir() and path.suffix != ".gguf":
            raise BackendLoadError(f"{path} is not a .gguf file, and not a directory")


def resolve(source: str, *, code: bool, abandon: threading.Event) -> Path:
    """The directory or GGUF file of a source, fetched if need be. Blocks.

    Args:
        source: See `check`.
        code: Whether to fetch Python files too.
        abandon: Set by another thread to end a download of embedded weights.

    Raises:
        BackendLoadError: The files cannot be had.
    """
    if not source.startswith(HUB):
        return weights.resolve(source, abandon=abandon).absolute()
    found = _NAME.fullmatch(source.removeprefix(HUB))
    if found is None:
        raise BackendLoadError(f"{source} is no name of a repository")
    import huggingface_hub

    repo, file, revision = found["repo"], found["file"], found["revision"]
    try:
        if file:
            return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
        patterns = [*_FILES, "*.py"] if code else list(_FILES)
        path = Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns))
        if not any(path.glob("*.safetensors")):
            # The older format, which is read without running what it may hold.
            huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=["pytorch_model*.bin*"])
    except Exception as error:  # the library raises its own errors, and those of two HTTP clients
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BackendLoadError(f"{source} cannot be fetched from the hub: {reason[:300]}") from error
    return path


def makes_embeddings(path: Path) -> bool:
    """Whether the files are those of an embedding model: one without a head, or one made for sentences."""
    if not path.is_dir():
        return False
    if (path / "modules.json").exists():
        return True
    architectures = read_json(path / "config.json").get("architectures") or [""]
    name = str(architectures[0])
    return name.endswith(("Model", "ForMaskedLM")) and not name.endswith("LMHeadModel")
