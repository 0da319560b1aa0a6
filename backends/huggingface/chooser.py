"""Chooses the tokens of one sequence from the model's logits, as its request asks.

Log-probabilities are those of the model's own distribution, before anything that a request asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from specserve.backends.huggingface.grammars import Matcher

ALTERNATIVES = 20
"""What the API can show."""

_GREEDY_TEMPERATURE = 1e-5  # below, the likeliest token is as good as certain, and logits overflow
_NUCLEUS = 1024  # `top_p` is mostly reached within so many tokens, and sorting all takes far longer


class Chooser:
    """One sequence.

    Args:
        config: The fields of `Sampling`, and ``vocabulary``, the tokenizer's size: models often have longer tables.
        seed: Of its random numbers.
        prompt: Token ids.
        end_ids: Tokens that end it.
        matcher: Knows what may come next, if a grammar says so.
    """

    def __init__(
        self,
        config: dict[str, Any],
        seed: int,
        prompt: Sequence[int],
        end_ids: Sequence[int],
        matcher: Matcher | None = None,
    ) -> None:
        self.config = config
        self._matcher = matcher
        self._seed = seed
        self._prompt = prompt
        self._end_ids = list(end_ids)
        self._generated: list[int] = []
        self._generator: torch.Generator | None = None
        self._counts: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None

    def choose(self, logits: torch.Tensor) -> list[Any]:
        """The next token: what a report says of it after the id; see `local/process_engine.py`.

        Args:
            logits: Float32, one for each token.
        """
        config = self.config
        logits = logits[: config["vocabulary"]]
        token = self._choice(self._adjusted(logits))
        self._take(token)
        end = None
        if token in self._end_ids and not config["ignore_eos"]:
            end = "stop"
        elif len(self._generated) >= config["max_tokens"]:
            end = "length"
        if not config["logprobs"]:
            return [[token], [], end]
        logprobs = logits.log_softmax(-1)
        own = [float(logprobs[token])]
        if not config["ranked"]:
            return [[token], own, end]
        return [[token], own, end, likeliest(logprobs[None])]

    def _adjusted(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits with penalties, biases and what is impossible now."""
        config = self.config
        penalised = config["presence_penalty"] or config["frequency_penalty"]
        repeated = config["repetition_penalty"] != 1
        ending = len(self._generated) < config["min_tokens"] and self._end_ids
        if not (penalised or repeated or ending or config["logit_bias"] or self._matcher):
            return logits
        logits = logits.clone()
        if repeated:
            seen = self._seen_tokens(logits)
            penalty = config["repetition_penalty"]
            scores = logits[seen]
            logits[seen] = (scores / penalty).where(scores > 0, scores * penalty)
        if penalised:
            counts = self._counted(logits)
            logits -= config["frequency_penalty"] * counts + config["presence_penalty"] * (counts > 0)
        for token, bias in config["logit_bias"]:
            if token < len(logits):
                logits[token] += bias
        if ending:
            logits[[token for token in self._end_ids if token < len(logits)]] = float("-inf")
        if self._matcher is not None:
            self._matcher.forbid(logits)
        return logits

    def _choice(self, logits: torch.Tensor) -> int:
        config = self.config
        if config["temperature"] < _GREEDY_TEMPERATURE or config["top_k"] == 1:
            return int(logits.argmax())
        import torch

        if self._generator is None:
            self._generator = torch.Generator(logits.device).manual_seed(self._seed)
        probabilities = (logits / config["temperature"]).softmax(-1)
        if not (config["top_k"] or config["top_p"] < 1 or config["min_p"]):
            return int(torch.multinomial(probabilities, 1, generator=self._generator))
        kept, ids = self._kept(probabilities)
        return int(ids[torch.multinomial(kept, 1, generator=self._generator)])

    def _kept(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `top_k`, then `top_p`, then `min_p` leave: probabilities, the highest first, and their tokens."""
        config = self.config
        size = min(config["top_k"] or len(probabilities), len(probabilities))
        kept, ids = probabilities.topk(min(size, _NUCLEUS))
        if len(kept) < size and (config["top_p"] >= 1 or float(kept.sum()) < config["top_p"]):
            kept, ids = probabilities.topk(size)
        if config["top_p"] < 1:
            total = float(kept.sum()) if config["top_k"] else 1.0
            before = kept.cumsum(-1) - kept
            kept = kept.where(before < config["top_p"] * total, 0)
            kept[0] = max(float(kept[0]), float(probabilities[ids[0]]))  # the likeliest always stays
        return kept.where(kept >= config["min_p"] * kept[0], 0), ids

    def _take(self, token: int) -> None:
        self._generated.append(token)
        if self._matcher is not None:
            self._matcher.take(token)
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True

    def _counted(self, logits: torch.Tensor) -> torch.Tensor:
        """How often each token was generated."""
        if self._counts is None:
            import torch

            self._counts = torch.zeros_like(logits)
            for token in self._generated:
                self._counts[token] += 1
        return self._counts

    def _seen_tokens(self, logits: torch.Tensor) -> torch.Tensor:
        """Which tokens stand in the prompt or were generated."""
        if self._seen is None:
            import torch

            self._seen = torch.zeros_like(logits, dtype=torch.bool)
            self._seen[[token for token in (*self._prompt, *self._generated) if token < len(logits)]] = True
        return self._seen


def likeliest(logprobs: torch.Tensor) -> list[list[tuple[int, float]]]:
    """For each row of log-probabilities the likeliest tokens with theirs, the likeliest first."""
    values, ids = logprobs.topk(min(ALTERNATIVES, logprobs.shape[-1]), -1)
    return [list(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
