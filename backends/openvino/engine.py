"""The engine contract on OpenVINO GenAI's continuous batching, and on the scorer for those who ask for ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.local.engine import Sampling, TokenOutput
from specserve.backends.local.process.engine import ProcessEngine
from specserve.backends.openvino.scorer import Scorer, ranked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from specserve.backends.local.process.worker_process import WorkerProcess
    from specserve.backends.local.tokens.model_files import ModelFiles

_LEAST_TOP_P = 1e-6  # the engine refuses 0 and for min_p 1, which mean much the same: only the likeliest
_GREEDY_TEMPERATURE = 1e-5  # below, the likeliest token is as good as certain, and logits overflow
_MOST_MIN_P = 1 - 1e-6


class OpenVINOEngine(ProcessEngine):
    """One model in one engine process, and beside it a scorer.

    Args:
        files: The model, read.
        launch: Starts an engine process that has the model open.
        scorer: Ranks tokens for those who ask.
    """

    def __init__(self, files: ModelFiles, launch: Callable[[], Awaitable[WorkerProcess]], scorer: Scorer) -> None:
        super().__init__(files, launch)
        self._scorer = scorer

    @property
    def pids(self) -> tuple[int, ...]:
        """The engine's process, and the scorer's if it runs."""
        return super().pids + ((self._scorer.pid,) if self._scorer.pid is not None else ())

    def generate(self, prompt: Sequence[int], sampling: Sampling, n: int) -> AsyncGenerator[list[TokenOutput], None]:
        """Generate `n` sequences; see the contract."""
        outputs = super().generate(prompt, sampling, n) if sampling.max_tokens else _nothing(n)
        if sampling.ranked or sampling.rank_prompt:
            return ranked(outputs, self._scorer, prompt, sampling, n)
        return outputs

    async def stop(self) -> None:
        """End everything; running generations raise `Unavailable`."""
        await super().stop()
        await self._scorer.stop()

    def config(self, sampling: Sampling) -> Mapping[str, int | float | bool]:
        """The engine's GenerationConfig, but for the seed and the tokens that end it."""
        config: dict[str, int | float | bool] = {
            "max_new_tokens": sampling.max_tokens,
            "min_new_tokens": sampling.min_tokens,
            "ignore_eos": sampling.ignore_eos,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "logprobs": int(sampling.logprobs),
            "do_sample": sampling.temperature > _GREEDY_TEMPERATURE,
        }
        if sampling.temperature > _GREEDY_TEMPERATURE:
            config |= {
                "temperature": sampling.temperature,
                "top_p": max(sampling.top_p, _LEAST_TOP_P),
                "top_k": sampling.top_k,
                "min_p": min(sampling.min_p, _MOST_MIN_P),
            }
        return config


async def _nothing(n: int) -> AsyncGenerator[list[TokenOutput], None]:
    """An answer of no tokens."""
    yield [TokenOutput(index, [], [], "length") for index in range(n)]
