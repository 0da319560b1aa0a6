"""Serves one embedding model in the engine's process.

Ready, it tells ``"context_length"``, ``"positions"`` (the longest input that it can read at all), ``"dimensions"``,
``"vocabulary"``, ``"tokenizer"`` and ``"precision"`` (the fields of `Precision`). Then batches: in ``{"id": any,
"rows": [[token ids], ...]}``, out ``{"id": the same, "vectors": [base64 of little-endian float32, ...]}`` or
``{"id": the same, "failed": why}``.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from specserve.backends.huggingface.opening import open_model, precision, tokenizer_json
from specserve.backends.local.process.pipes import send, short
from specserve.backends.local.tokens.sentence_modules import read_modules

if TYPE_CHECKING:
    import queue

    import torch


class Embedder:
    """One embedding model.

    Args:
        order: See `order.py`.
        replies: Where vectors go.

    Raises:
        BackendLoadError: Its files say something that is not done here.
        ValueError: It cannot be opened as asked. The library raises other errors too.
    """

    def __init__(self, order: dict[str, Any], replies: IO[bytes]) -> None:
        from transformers import AutoModel

        directory = Path(order["model"])
        self._modules = read_modules(directory, ("mean", "cls", "lasttoken"))
        self._replies = replies
        self._model = open_model(order, AutoModel)
        tokenizer = tokenizer_json(order)
        if tokenizer is None:
            raise ValueError("it has no tokenizer that could be read")
        config = self._model.config.get_text_config()
        positions = config.max_position_embeddings
        padding = config.pad_token_id
        table = getattr(getattr(self._model, "embeddings", None), "position_embeddings", None)
        before: int | None = getattr(table, "padding_idx", None)
        if before is not None:
            positions -= before + 1  # such models count positions from behind the padding's
        self._padding = padding if padding is not None and padding >= 0 else 0
        self.about = {
            "context_length": min(self._modules.max_length or positions, positions),
            "positions": positions,
            "dimensions": config.hidden_size,
            "vocabulary": config.vocab_size,
            "tokenizer": tokenizer,
            "precision": precision(order, self._model, caches=False),
        }

    def serve(self, inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        """Serve until the input ends."""
        while (message := inbox.get()) is not None:
            try:
                vectors = [_written(row) for row in self._embed(message)]
            except Exception as error:  # noqa: BLE001 - goes to the requests
                send(self._replies, {"id": message["id"], "failed": short(error)})
            else:
                send(self._replies, {"id": message["id"], "vectors": vectors})

    def _embed(self, message: dict[str, Any]) -> torch.Tensor:
        import torch

        rows = message["rows"]
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._padding)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        vectors = self._pooled(hidden, mask)
        if self._modules.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors.cpu()

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector for each row. [rows, length, size] and [rows, length] -> [rows, size]."""
        if self._modules.pooling == "cls":
            return hidden[:, 0]
        if self._modules.pooling == "lasttoken":
            return hidden[range(len(hidden)), mask.sum(-1) - 1]
        weight = mask[:, :, None].to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1)


def _written(vector: torch.Tensor) -> str:
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
