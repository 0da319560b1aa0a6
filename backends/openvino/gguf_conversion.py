"""Converts a GGUF file to OpenVINO IR, which is kept (`kept.py`), so that the next start is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specserve.backends.openvino.seams import MODEL, save_gguf

if TYPE_CHECKING:
    import openvino_genai


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
    save_gguf(link, tokenizer)
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
