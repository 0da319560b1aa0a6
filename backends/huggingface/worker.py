"""The engine's own process: ``python -m specserve.backends.huggingface.worker``.

A process, because what transformers does in Python between two of PyTorch's operations holds Python's global lock for
most of a step of a small model, and because memory of an unloaded model goes back with its process. A crash of it is an
error of its requests, not of the server.

It speaks lines of JSON (`local/pipes.py`). The order is `order.py`'s. To it the process answers, beside ``"ready"``,
for a text model with ``"capacity"``, the most tokens that its KV cache can hold or null, ``"tokenizer"``, the
content of a tokenizer.json, and ``"precision"``, the fields of `Precision`; then it speaks as
`local/process/engine.py` says, and takes ``{"vocabulary": ...}`` (`local/tokens/vocabulary.py`) ahead of requests. For
an embedding model see `embedder.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from typing import IO, Any

from specserve.backends.local.process.pipes import begin, send, short


def main() -> int:
    """Open the model, say so, serve until the input ends."""
    replies = begin()
    # The first is read by the hub's library; the second by tqdm, whose bars would stand in the server's log.
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
    with contextlib.suppress(ImportError):  # told when the order has come
        import torch
        import transformers  # noqa: F401  takes seconds, in which the server gets ready to say what to open
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    try:
        order = json.loads(line)
        serve, ready = _open(order, replies)
    except ModuleNotFoundError as error:
        send(replies, {"failed": f"the library {error.name!r} is missing: pip install 'specserve[huggingface]'"})
        return 1
    except Exception as error:  # noqa: BLE001 - the libraries raise errors of every kind; all go to the server
        send(replies, {"failed": short(error)})
        return 1
    send(replies, {"ready": True, **ready})
    inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, inbox), daemon=True).start()
    with contextlib.suppress(BrokenPipeError), torch.inference_mode():
        serve(inbox)
    return 0


def _open(order: dict[str, Any], replies: IO[bytes]) -> tuple[Any, dict[str, Any]]:
    from specserve.backends.huggingface import opening

    opening.quiet()
    if order["num_threads"] is not None:
        import torch

        torch.set_num_threads(order["num_threads"])
    if order["task"] == "embeddings":
        from specserve.backends.huggingface.embedder import Embedder

        embedder = Embedder(order, replies)
        return embedder.serve, embedder.about
    from specserve.backends.huggingface.text_worker import TextWorker

    worker = TextWorker(order, replies)
    ready = {"capacity": worker.capacity, "tokenizer": opening.tokenizer_json(order), "precision": worker.precision}
    return worker.serve, ready


def _read(requests: IO[bytes], inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in requests:
        inbox.put(json.loads(line))
    inbox.put(None)


if __name__ == "__main__":
    status = 1
    try:
        with contextlib.suppress(BrokenPipeError):  # the server is gone
            status = main()
    except Exception:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
    os._exit(status)  # a thread of transformers may run, and would be waited for
