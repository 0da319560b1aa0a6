"""Opening a model in the engine's process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.openvino.adapters import adapter_config
from specserve.backends.openvino.gguf_conversion import convert
from specserve.backends.openvino.grammar_compiler import GrammarCompiler
from specserve.backends.openvino.kept import keep
from specserve.backends.openvino.seams import MODEL
from specserve.backends.openvino.vocabulary import engine_tokenizer

if TYPE_CHECKING:
    import openvino_genai

Opened = tuple["openvino_genai.ContinuousBatchingPipeline", Callable[[], GrammarCompiler]]


def open_pipeline(order: dict[str, Any]) -> Opened:
    """Open an OpenVINO model, and say what opens a compiler of grammars for it."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    for name, value in order["scheduler"].items():
        setattr(scheduler, name, value)

    properties = dict(order["properties"])
    if order["adapters"]:
        properties["adapters"] = adapter_config(order["adapters"], Path(order["model"]))

    def open_path(path: Path) -> Opened:
        # The server tokenizes; the engine only needs to know its tokens, for grammars.
        tokenizer, tokens = engine_tokenizer(order["vocabulary"], path / MODEL)
        pipeline = openvino_genai.ContinuousBatchingPipeline(path, tokenizer, scheduler, order["device"], **properties)
        return pipeline, functools.partial(GrammarCompiler, tokenizer, tokens)

    return _open_any(order, open_path)


def _open_any(order: dict[str, Any], open_path: Callable[[Path], Opened]) -> Opened:
    """Open a folder, or a GGUF file's conversion, which is made if there is none yet."""
    model = Path(order["model"])
    if model.is_dir():
        return open_path(model)

    def make(folder: Path) -> None:
        tokenizer, _ = engine_tokenizer(order["vocabulary"], folder / MODEL)
        convert(model, folder, tokenizer, whole_zeros=order["whole_zeros"])

    return open_path(keep(Path(order["save_to"]), make))
