"""What the engine process is told to open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from specserve.backends.huggingface.options import HuggingFaceOptions

WORKER = "specserve.backends.huggingface.worker"
LIBRARY = "transformers"


def order(path: Path, options: HuggingFaceOptions, task: Literal["text", "embeddings"]) -> dict[str, object]:
    """The first line that the process reads; see `worker.py`."""
    return {
        "task": task,
        "model": str(path),
        "adapters": [str(Path(adapter).expanduser().absolute()) for adapter in options.adapters],
        **options.model_dump(exclude={"adapters", "batch_tokens", "context_length", "tokenizer"}),
        "dtype": options.number_format,
    }
