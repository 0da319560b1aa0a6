"""A scripted engine, for tests of what local backends share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chunks import STREAM, chunks_in

from specserve.backends.base import Activity, Call, Capabilities, ModelSettings
from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.engine import Engine, Sampling, Tokenizer, TokenOutput
from specserve.generated.models import CreateChatCompletionRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

Steps = list[list[TokenOutput]]


class Bytes(Tokenizer):
    """A token a byte; control tokens as a test names them have none."""

    def __init__(self, control: Mapping[str, int] | None = None) -> None:
        self._control = dict(control or {})

    @property
    def control_tokens(self) -> Mapping[str, int]:
        return self._control

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._control.values() else bytes([token_id])

    @property
    def size(self) -> int:
        return 256


class Script(Engine):
    """Plays the steps that a test wrote down, and remembers what it was asked."""

    chat_template: str | None = "{% for m in messages %}{{ m.content }}{% endfor %}"
    special_tokens = {}  # noqa: RUF012 - as the contract has it
    context_length = 1000
    tokenizer: Tokenizer = Bytes()

    def __init__(self, play: Callable[[list[int]], Steps]) -> None:
        self.play = play
        self.asked: list[tuple[list[int], Sampling]] = []

    async def generate(self, prompt: Sequence[int], sampling: Sampling, n: int) -> AsyncGenerator[Any, None]:
        self.asked.append((list(prompt), sampling))
        for step in self.play(list(prompt)):
            await asyncio.sleep(0)
            yield step

    def activity(self) -> Activity:
        return Activity()

    async def stop(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        async def go() -> Capabilities:
            backend = Scripted(self)
            await backend.start()
            return backend.capabilities

        return asyncio.run(go())

    async def stream(self, **body: Any) -> AsyncGenerator[Any, None]:
        backend = Scripted(self)
        await backend.start()
        said = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **STREAM}
        async for chunk in backend.chat(
            CreateChatCompletionRequest.model_validate(said | body), Call(id="c", created=1)
        ):
            yield chunk
        await backend.stop()


class Scripted(LocalBackend):
    features = frozenset({"logprobs"})

    def __init__(self, engine: Engine) -> None:
        super().__init__(ModelSettings(id="m", backend="script"))
        self.opens = engine

    async def open_engine(self) -> Engine:
        return self.opens


def out(text: str, finish: Any = None, index: int = 0, logprobs: list[float] | None = None) -> TokenOutput:
    return TokenOutput(index, list(text.encode()), logprobs or [], finish)


def ask(engine: Script, **body: Any) -> list[dict[str, Any]]:
    """The chunks of a chat."""

    async def go() -> list[dict[str, Any]]:
        return chunks_in([item async for item in engine.stream(**body)])

    return asyncio.run(go())
