"""A backend that lives outside of the house: it says the last message in capitals."""

from specserve.backends.abilities import Chats
from specserve.backends.base import Backend, Capabilities
from specserve.generated.models import (
    ChatCompletionStreamChoice,
    ChatCompletionStreamResponseDelta,
    CompletionUsage,
    CreateChatCompletionStreamResponse,
)


class Shouting(Backend, Chats):
    @property
    def capabilities(self):
        return Capabilities({"createChatCompletion": frozenset({"messages"})})

    async def start(self):
        pass

    async def stop(self):
        pass

    async def chat(self, request, call):
        said = request.messages[-1].content
        yield self._chunk(call, delta={"role": "assistant", "content": said.upper()})
        yield self._chunk(call, finish_reason="stop")
        usage = CompletionUsage(prompt_tokens=len(said), completion_tokens=len(said), total_tokens=2 * len(said))
        yield self._chunk(call, usage=usage)

    def _chunk(self, call, *, delta=None, finish_reason=None, usage=None):
        choice = ChatCompletionStreamChoice(
            index=0, delta=ChatCompletionStreamResponseDelta(**delta or {}), logprobs=None, finish_reason=finish_reason
        )
        return CreateChatCompletionStreamResponse(
            id=call.id,
            object="chat.completion.chunk",
            created=call.created,
            model=self.settings.id,
            choices=[] if usage else [choice],
            **({"usage": usage} if usage else {}),
        )
