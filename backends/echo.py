"""A model that says what it was told: for tests, for the conformance kit, and as a backend to read first.

It is a small engine under the same layer that the real ones use, so its answers come through a chat template, a
tokenizer, stop strings and usage like theirs. The last user message (or a completion's whole prompt) is its answer, to
each of `n`. Its choice is bound to that text the way guided decoding binds one, so every way of sampling, `temperature`
0 or 2, any penalty, any `seed`, picks the same token: those parameters are in effect, and change nothing. The
log-probabilities are those of a fixed table, before the binding: the token that comes has one half, the next likeliest
a quarter, and so on.

Options (`ModelSettings.options`): see `EchoOptions`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import re
import struct
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

from pydantic import Field

from specserve.backends.abilities import Embeds
from specserve.backends.base import Activity
from specserve.backends.construct import construct
from specserve.backends.local.backend import LocalBackend, listed
from specserve.backends.local.engine import Engine, RankedOutput, Tokenizer, TokenOutput
from specserve.backends.local.grammars.analysis import allows, shortest
from specserve.backends.local.text.plan import parameters
from specserve.backends.options import Options, parse_options
from specserve.backends.sources import Sources
from specserve.generated.models import CreateEmbeddingResponse, Embedding, EmbeddingUsage
from specserve.spec.errors import ContextLengthExceeded, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from specserve.backends.base import Capabilities, ModelSettings
    from specserve.backends.local.engine import Alternatives, Sampling
    from specserve.backends.local.grammars.grammar import Grammar
    from specserve.generated.models import CreateEmbeddingRequest

SOURCES = Sources(needed=False)

_CONTROL = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_USER, _ASSISTANT, _END = 257, 258, 259
_FIRST_PAIR = 256 + len(_CONTROL)
_TOKENS = (
    *(bytes([byte]) for byte in range(256)),
    *(b"" for _ in _CONTROL),
    *(pair.to_bytes(2) for pair in range(_FIRST_PAIR, int.from_bytes(b"~~") + 1)),
)
_CONTROL_IDS = {text: 256 + at for at, text in enumerate(_CONTROL)}
_PIECES = re.compile("(" + "|".join(map(re.escape, _CONTROL)) + ")")
_TOKEN = re.compile(rb"[ -~]{2}|.", re.DOTALL)

_TEMPLATE = """{% for message in messages %}
{%- if 'name' in message %}{{ message['name'] + ': ' }}{% endif %}
{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

_LONGEST_TRIED = 1000  # characters held against a grammar

_TURN = 64  # tokens between two turns of others, for an answer without a pace

_LIKELY = b" etaoinshrdlucmfwypvbgkqjxz"
_LOGPROBS = tuple(math.log(0.5) * rank for rank in range(1, 21))


class EchoOptions(Options):
    """Settings of one echo model."""

    tokens_per_second: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="Pace of each answer; 0 is as fast as possible."
    )
    first_token_delay: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="Seconds before the first token, as a prompt takes to read."
    )
    context_length: int = Field(default=4096, ge=2, description="Most tokens of prompt and answer together.")
    embedding_dimensions: int = Field(default=64, ge=1, le=8192, description="Length of its vectors.")


class EchoTokenizer(Tokenizer):
    """Two printable ASCII characters a token, or one byte: so that words, emoji and stop strings straddle tokens.

    Ids: bytes below 256, then the control tokens; the id of two characters is 256 times the first byte plus the second.
    """

    @property
    def control_tokens(self) -> dict[str, int]:
        """See `Tokenizer`."""
        return _CONTROL_IDS

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """See `Tokenizer`. Any text; what UTF-8 cannot say becomes a question mark."""
        return self.encode_guarded(text, "")

    def encode_guarded(self, text: str, guard: str) -> list[int]:
        """See `Tokenizer`."""
        ids: list[int] = []
        for piece in _PIECES.split(text):  # text and control tokens in turns
            control = _CONTROL_IDS.get(piece)
            if control is not None:
                ids.append(control)
            elif piece:
                ids += _text_ids(piece.replace(guard, "") if guard else piece)
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        """See `Tokenizer`."""
        if token_id < 0:
            raise IndexError(token_id)
        return _TOKENS[token_id]

    def text_bytes(self, token_ids: Sequence[int]) -> bytes:
        """See `Tokenizer`."""
        return b"".join(map(_TOKENS.__getitem__, token_ids))

    @property
    def size(self) -> int:
        """See `Tokenizer`."""
        return len(_TOKENS)


def _text_ids(text: str) -> list[int]:
    data = text.encode(errors="replace")
    if text.isascii() and text.isprintable():  # most texts: read in pairs without looking for them
        pairs = len(data) // 2
        return [*struct.unpack_from(f">{pairs}H", data), *data[2 * pairs :]]
    return [int.from_bytes(token) for token in _TOKEN.findall(data)]


class EchoEngine(Engine):
    """Generates what it was told, one token of each sequence a step."""

    def __init__(self, options: EchoOptions) -> None:
        self._options = options
        self._tokenizer = EchoTokenizer()
        self._stopping = asyncio.Event()
        self._running = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """See `Engine`."""
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """See `Engine`."""
        return self._options.context_length

    @property
    def chat_template(self) -> str:
        """See `Engine`."""
        return _TEMPLATE

    @property
    def special_tokens(self) -> dict[str, str]:
        """See `Engine`."""
        return {"eos_token": _CONTROL[-1]}

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, n: int
    ) -> AsyncGenerator[list[TokenOutput], None]:
        """See `Engine`. Where the answer must be longer than what was said, it is said again."""
        said = self._within(sampling.grammar, _said(prompt))
        wanted = sampling.max_tokens if sampling.ignore_eos else max(len(said), sampling.min_tokens)
        ids = list(islice(cycle(said or [ord(".")]), min(wanted, sampling.max_tokens)))
        pace = self._options.tokens_per_second
        pause = 1 / pace if pace else 0.0
        clock = asyncio.get_running_loop().time
        due = clock() + self._options.first_token_delay
        # Without a pace several steps go together; where nobody sees the tokens come, they are one.
        turns = _turns(ids, sampling, n, width=1 if pace else _TURN, together=not (pace or sampling.streamed))
        self._running += n
        try:
            if sampling.rank_prompt:
                await self._sleep(0)
                yield [RankedOutput(0, [], [], prompt=[(_LOGPROBS[0], _ranked(token_id)) for token_id in prompt[1:]])]
            for at, outputs in enumerate(turns):
                # Even without a pace others get their turn: each step of a real engine takes time too.
                wait = due + at * pause - clock()
                if at or wait > 0:
                    await self._sleep(wait)
                yield outputs
        finally:
            self._running -= n

    def _within(self, grammar: Grammar | None, said: list[int]) -> list[int]:
        """What to say if the answer must look like this: what was said if it does, else the least that does."""
        if grammar is None or grammar.free:
            return said
        text = self._tokenizer.text_bytes(said).decode(errors="replace")
        if len(text) <= _LONGEST_TRIED and allows(grammar, text):
            return said
        return self._tokenizer.encode(shortest(grammar) or "", add_special_tokens=False)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
        else:
            await asyncio.sleep(0)
        if self._stopping.is_set():
            raise Unavailable("This model is shutting down.")

    def activity(self) -> Activity:
        """See `Engine`."""
        return Activity(running=self._running)

    async def stop(self) -> None:
        """See `Engine`."""
        self._stopping.set()


def _said(prompt: Sequence[int]) -> list[int]:
    """The tokens to say: of the last user message if the template put the prompt together, else of the prompt."""
    ids = list(prompt)
    if ids[-1] == _ASSISTANT:
        ids = ids[len(ids) - ids[::-1].index(_USER) :] if _USER in ids else []
        ids = ids[: ids.index(_END)] if _END in ids else ids
    return [token_id for token_id in ids if not 256 <= token_id < _FIRST_PAIR]


def _turns(ids: list[int], sampling: Sampling, n: int, width: int, *, together: bool) -> Iterator[list[TokenOutput]]:
    """What `n` sequences of these tokens gain, so many tokens a turn, each turn one step or one for each token."""
    last = max(0, len(ids) - 1) // width * width
    for at in range(0, last + 1, width):
        some = ids[at : at + width]
        steps = [some] if together or not some else [[token_id] for token_id in some]
        if sampling.logprobs:
            outputs: list[TokenOutput] = [_scored(step) for step in steps]
        else:
            outputs = [TokenOutput(0, step, []) for step in steps]
        if at == 0:
            outputs[0].cached_tokens = 0
        if at == last:
            outputs[-1].finish_reason = "length" if len(ids) == sampling.max_tokens else "stop"
        yield outputs if n == 1 else [replace(output, index=index) for output in outputs for index in range(n)]


def _scored(ids: list[int]) -> RankedOutput:
    return RankedOutput(0, ids, [_LOGPROBS[0]] * len(ids), alternatives=[_ranked(token_id) for token_id in ids])


def _ranked(token_id: int) -> Alternatives:
    others = [byte for byte in _LIKELY if byte != token_id]
    return list(zip([token_id, *others], _LOGPROBS, strict=False))


class Echo(LocalBackend, Embeds):
    """Serves an `EchoEngine`, and vectors that are hashes: the same text, the same direction, and nothing more."""

    features = frozenset(
        {
            "frequency_penalty",
            "ignore_eos",
            "logprobs",
            "min_p",
            "min_tokens",
            "presence_penalty",
            "repetition_penalty",
            "response_format",
            "seed",
            "temperature",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
        }
    )

    def __init__(self, settings: ModelSettings) -> None:
        """Validate the options.

        Raises:
            BackendLoadError: One is unknown, or out of its range.
        """
        super().__init__(settings)
        self._options = parse_options(EchoOptions, settings.options)

    async def open_engine(self) -> Engine:
        """See `LocalBackend`."""
        return EchoEngine(self._options)

    def declare(self, engine: Engine) -> Capabilities:
        """See `LocalBackend`."""
        capabilities = super().declare(engine)
        embedding = {"createEmbedding": frozenset({"dimensions", "encoding_format", "input", "model"})}
        return replace(
            capabilities,
            operations={**capabilities.operations, **embedding},
            embedding_dimensions=self._options.embedding_dimensions,
        )

    async def embed(self, request: CreateEmbeddingRequest) -> CreateEmbeddingResponse:
        """See `Embeds.embed`. Fewer `dimensions` than the model has are the first ones, at length 1 again."""
        asked = parameters(request)
        dimensions = asked["dimensions"] or self._options.embedding_dimensions
        if dimensions > self._options.embedding_dimensions:
            most = self._options.embedding_dimensions
            raise InvalidRequest(f"Vectors of this model have at most {most} dimensions.", param="dimensions")
        if not all(listed(asked["input"])):
            raise InvalidRequest("An input must not be empty.", param="input")
        inputs = await self.token_ids(asked["input"], "input")
        longest = self.context_length
        if any(len(ids) > longest for ids in inputs):
            raise ContextLengthExceeded(f"This model's maximum context length is {longest} tokens.", param="input")
        data = [
            construct(
                Embedding,
                object="embedding",
                index=index,
                embedding=_base64(vector) if asked["encoding_format"] == "base64" else vector,
            )
            for index, vector in enumerate(_vector(ids, dimensions) for ids in inputs)
        ]
        tokens = sum(map(len, inputs))
        usage = construct(EmbeddingUsage, prompt_tokens=tokens, total_tokens=tokens)
        return construct(CreateEmbeddingResponse, object="list", model=self.settings.id, data=data, usage=usage)


def _vector(ids: Sequence[int], dimensions: int) -> list[float]:
    digest = hashlib.shake_256(struct.pack(f"<{len(ids)}I", *ids)).digest(4 * dimensions)
    numbers = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", digest)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as the official client reads them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
