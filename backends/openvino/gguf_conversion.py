"""Converts a GGUF file to OpenVINO IR, which is kept (`kept.py`), so that the next start is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino_genai

MODEL = "openvino_model.xml"
_NO_DEVICE = "NONE"


def convert(gguf: Path, made: Path, tokenizer: openvino_genai.Tokenizer, *, whole_zeros: bool) -> None:
    """Convert a file into an empty folder. Takes seconds, for large files minutes.

    Args:
        gguf: The file.
        made: Where to put the model.
        tokenizer: Anything; without one the engine would make its own from the file, which takes seconds.
        whole_zeros: See `gguf_weights.restore`.

    Raises:
        RuntimeError: The engine cannot read the file.
        BackendLoadError: The file is damaged.
    """
    import openvino as ov

    from specserve.backends.openvino.gguf_weights import restore

    # The engine saves beside the path it is given, so it is given one of ours.
    link = made / "model.gguf"
    link.symlink_to(gguf.resolve())
    _save(link, tokenizer)
    link.unlink()
    raw = made / "raw.xml"
    for suffix in (".xml", ".bin"):
        (made / MODEL).with_suffix(suffix).rename(raw.with_suffix(suffix))
    model = ov.Core().read_model(raw)
    restore(model, gguf, whole_zeros=whole_zeros)
    ov.save_model(model, made / MODEL, compress_to_fp16=False)
    del model  # it has the old file open
    for suffix in (".xml", ".bin"):
        raw.with_suffix(suffix).unlink()


def _save(link: Path, tokenizer: openvino_genai.Tokenizer) -> None:
    """Let the engine read the file and save what it made of it.

    It has nothing that does only that: it saves while it opens. So it is told to open the model on a device that does
    not exist, which it finds out when all is saved.
    """
    import openvino_genai

    try:
        openvino_genai.ContinuousBatchingPipeline(
            link, tokenizer, openvino_genai.SchedulerConfig(), _NO_DEVICE, enable_save_ov_model=True
        )
    except RuntimeError:
        if not (link.parent / MODEL).exists():
            raise
