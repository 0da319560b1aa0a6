"""A backend whose last user message says, word by word, what it does.

`accept` tells the handler that the request is accepted, `say` gives a chunk, `wait` waits until the file exists that
the model's source names, `pause` lets many keep-alive intervals pass, `refuse` and `fail` raise.
"""

import asyncio
from pathlib import Path

from broken_backend import Broken

from specserve.backends.base import ACCEPTED
from specserve.generated.models import CompletionUsage
from specserve.spec.errors import EngineFailure, InvalidRequest


class Directed(Broken):
    async def chat(self, request, call):
        self.running += 1
        try:
            for word in request.messages[-1].content.split():
                if word == "accept":
                    yield ACCEPTED
                elif word == "say":
                    yield self.chunk(request, call, role="assistant", content="said")
                elif word == "wait":
                    while not self.opened():
                        await asyncio.sleep(0.02)
                elif word == "pause":
                    await asyncio.sleep(0.5)
                elif word == "refuse":
                    raise InvalidRequest("No.", param="messages")
                elif word == "fail":
                    raise EngineFailure("The engine broke.")
            yield self.chunk(request, call, finish_reason="stop")
            usage = CompletionUsage.model_construct(prompt_tokens=1, completion_tokens=1, total_tokens=2)
            yield self.chunk(request, call, usage=usage)
        finally:
            self.running -= 1

    def opened(self):
        return Path(self.settings.source).exists()
