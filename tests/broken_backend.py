"""A backend that misbehaves on demand: the last user message says how."""

import asyncio

from specserve.backends.base import Activity, Backend, Capabilities
from specserve.generated.models import (
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponseDelta,
    CompletionUsage,
    CreateChatCompletionStreamResponse,
)
from specserve.spec.errors import EngineFailure, InvalidRequest


class Broken(Backend):
    running = 0

    @property
    def capabilities(self):
        return Capabilities({"createChatCompletion": frozenset({"messages", "max_tokens"})}, context_length=100)

    async def start(self):
        pass

    async def stop(self):
        pass

    def activity(self):
        return Activity(running=self.running)

    async def chat(self, request, call):
        how = request.messages[-1].content
        self.running += 1
        try:
            if how == "refuse":
                raise InvalidRequest("No.", param="messages")
            if how == "crash first":
                raise RuntimeError("secret detail")
            yield self.chunk(request, call, role="assistant", content="")
            if how == "hang":
                await asyncio.sleep(600)
            if how == "crash":
                raise RuntimeError("secret detail")
            if how == "fail":
                raise EngineFailure("The engine broke.")
            if how == "bad chunk":
                yield self.chunk(request, call, role="robot")
            yield self.chunk(request, call, finish_reason="stop" if how != "bad end" else "robot")
            usage = CompletionUsage.model_construct(prompt_tokens=1, completion_tokens=1, total_tokens=2)
            yield self.chunk(request, call, usage=usage)
        finally:
            self.running -= 1

    def chunk(self, request, call, *, usage=None, finish_reason=None, **delta):
        choice = ChatCompletionStreamChoice.model_construct(
            index=0,
            delta=ChatCompletionStreamResponseDelta.model_construct(**delta),
            logprobs=None,
            finish_reason=finish_reason,
        )
        more = {"choices": [choice]} if usage is None else {"choices": [], "usage": usage}
        return CreateChatCompletionStreamResponse.model_construct(
            id=call.id, object="chat.completion.chunk", created=call.created, model=request.model, **more
        )
