"""Opening a model in the engine's process."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.openvino.adapters import adapter_config
from specserve.backends.openvino.grammar_compiler import GrammarCompiler
from specserve.backends.openvino.vocabulary import engine_tokenizer

if TYPE_CHECKING:
    import openvino_genai

_MODEL = "openvino_model.xml"


Opened = tuple["openvino_genai.ContinuousBatchingPipeline", Callable[[], GrammarCompiler]]


def open_pipeline(order: dict[str, Any]) -> Opened:
    """Open an OpenVINO model, and say what opens a compiler of grammars for it."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    for name, value in order["scheduler"].items():
        setattr(scheduler, name, value)

    def open_path(path: Path, /, **properties: object) -> Opened:
        # The server tokenizes; the engine only needs to know its tokens, for grammars.
        tokenizer, tokens = engine_tokenizer(order["vocabulary"], path / _MODEL)
        pipeline = openvino_genai.ContinuousBatchingPipeline(
            path, tokenizer, scheduler, order["device"], **order["properties"], **properties
        )
        return pipeline, functools.partial(GrammarCompiler, tokenizer, tokens)

    more: dict[str, object] = {}
    if order["adapters"]:
        more["adapters"] = adapter_config(order["adapters"], Path(order["model"]))
    return _open_any(order, functools.partial(open_path, **more))


def _open_any(order: dict[str, Any], open_path: Callable[..., Opened]) -> Opened:
    """Open a folder, or a GGUF file, which is converted on the way and saved, so that the next start is quick."""
    model = Path(order["model"])
    if model.is_dir():
        return open_path(model)
    saved = Path(order["save_to"])
    if saved.is_dir():
        try:
            return open_path(saved)
        except RuntimeError:
            if _readable(saved):
                raise
    with _beside(saved) as folder:
        # The engine saves beside the path it is given, so it is given one of ours.
        link = folder / "model.gguf"
        link.symlink_to(model.resolve())
        opened = open_path(link, enable_save_ov_model=True)
        link.unlink()
        if (folder / _MODEL).exists():
            with contextlib.suppress(OSError):  # another process was first
                folder.rename(saved)
        return opened


def _readable(saved: Path) -> bool:
    """Whether a saved model is whole; if not, it is put away."""
    import openvino as ov

    try:
        ov.Core().read_model(saved / _MODEL)
    except RuntimeError:
        if (saved / _MODEL).is_file():  # else it is no folder of ours
            shutil.rmtree(saved, ignore_errors=True)
        return False
    return True


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a working directory on the same file system, which is gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
